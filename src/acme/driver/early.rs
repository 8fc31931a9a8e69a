//! What is heard while the store cannot be used, and so before there is a driver.

use super::{Answered, Command, Driver};
use crate::acme::{
    model::{Identifier, Nudge},
    settings::Settings,
};

pub(super) struct Early {
    pub settings: Settings,
    /// The next look at the store is their answer.
    wishes: Vec<(Identifier, Nudge, Answered)>,
    revocations: Vec<(Identifier, Answered)>,
}

impl Early {
    pub(super) fn new(settings: Settings) -> Early {
        Early { settings, wishes: Vec::new(), revocations: Vec::new() }
    }

    pub(super) fn hear(&mut self, command: Command) {
        match command {
            Command::Configure(new) => self.settings = *new,
            Command::Nudge(identifier, nudge, answer) => self.wishes.push((identifier, nudge, answer)),
            Command::Rehearsed(_) => {}
            Command::Revoke(identifier, answer) => self.revocations.push((identifier, answer)),
        }
    }

    /// The store still cannot be used: what is asked for then is not done later unasked.
    pub(super) fn refuse(&mut self, why: &str) {
        let wishes = self.wishes.drain(..).map(|(_, _, answer)| answer);
        for answer in wishes.chain(self.revocations.drain(..).map(|(_, answer)| answer)) {
            // Who asked may have gone.
            let _ = answer.send(Err(why.to_owned()));
        }
    }

    /// It can be used.
    pub(super) async fn pass_on(self, driver: &mut Driver) {
        for (identifier, nudge, answer) in self.wishes {
            driver.asked_for(identifier, nudge, answer);
        }
        for (identifier, answer) in self.revocations {
            driver.hear(Command::Revoke(identifier, answer)).await;
        }
    }
}
