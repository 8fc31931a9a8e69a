//! A try that somebody asks for: nobody is promised what could not be written down.

use super::{Answered, Driver};
use crate::acme::model::{Identifier, Nudge};

impl Driver {
    pub(super) fn asked_for(&mut self, identifier: Identifier, nudge: Nudge, answer: Answered) {
        // The last write may be long ago, and the disk full since.
        if !self.save() {
            return answered(answer, self.unkept.as_deref());
        }
        let mut stuck = false;
        for set in self.sets.iter_mut().filter(|set| set.wanted.identifiers.contains(&identifier)) {
            set.nudge(nudge);
            stuck |= set.stuck.is_some();
        }
        match stuck {
            true => self.asked.push((identifier, answer)),
            false => answered(answer, None),
        }
    }

    /// Once their steps were tried again.
    pub(super) fn answer_asked(&mut self) {
        for (identifier, answer) in std::mem::take(&mut self.asked) {
            let mut sets = self.sets.iter().filter(|set| set.wanted.identifiers.contains(&identifier));
            let hindered = self.unkept.as_deref().or_else(|| sets.find_map(|set| set.stuck.as_deref()));
            answered(answer, hindered);
        }
    }
}

fn answered(answer: Answered, hindered: Option<&str>) {
    // Who asked may have gone.
    let _ = answer.send(hindered.map_or(Ok(()), |why| Err(why.to_owned())));
}
