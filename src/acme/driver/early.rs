//! What is heard while the store cannot be used, and so before there is a driver.

use super::{Command, Driver};
use crate::acme::{
    model::{Identifier, Nudge},
    settings::Settings,
};

pub(super) struct Early {
    pub settings: Settings,
    /// Whoever asked was told that it is asked for now: so it is, as soon as that can be written down.
    wishes: Vec<(Identifier, Nudge)>,
}

impl Early {
    pub(super) fn new(settings: Settings) -> Early {
        Early { settings, wishes: Vec::new() }
    }

    /// `hindered` is what keeps a driver from being there.
    pub(super) fn hear(&mut self, command: Command, hindered: Option<&str>) {
        match command {
            Command::Configure(new) => self.settings = *new,
            Command::Nudge(identifier, nudge) => {
                self.wishes.retain(|(name, _)| *name != identifier);
                self.wishes.push((identifier, nudge));
            }
            Command::Rehearsed(_) => {}
            Command::Revoke(_, answer) => {
                let why = hindered.unwrap_or("no certificate is asked of any CA here");
                // Who asked may have gone.
                let _ = answer.send(Err(why.to_owned()));
            }
        }
    }

    pub(super) fn pass_on(self, driver: &mut Driver) {
        for (identifier, nudge) in self.wishes {
            driver.nudge(&identifier, nudge);
        }
    }
}
