//! What this process knows about one certificate.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;
use tracing::error;

use super::{Facts, STEPS, STEPS_WITHIN, names};
use crate::{
    acme::{
        challenge_dns::Record,
        model::{CaTime, DirectoryUrl, Have, Identifier, Nudge, Problem, SetId, Wanted},
        order::Order,
        plan::Step,
    },
    challenge::Offer,
    config::model::Hostname,
};

pub(super) struct Set {
    pub id: SetId,
    pub wanted: Wanted,
    pub have: Option<Have>,
    /// The certificate whose end was told of, by that end: once for each.
    pub warned: Option<CaTime>,
    pub facts: Facts,
    /// Handles to the orders in `facts`.
    pub orders: HashMap<DirectoryUrl, Order>,
    /// What answers the challenges that are pending.
    pub answers: HashMap<Identifier, Answer>,
    pub due: Instant,
    /// To be done when due, without asking the plan again: it would only put it off again.
    pub put_off: Option<Step>,
    /// What the operator is shown: the last step that was no request.
    pub shown: Option<Step>,
    /// What only the operator can give, as it was told: once, until it is another thing.
    pub lacks: Option<Problem>,
    /// Why its next step cannot be written down, or its key not read.
    pub stuck: Option<String>,
    /// What may be wrong, as the last look around has it.
    pub worries: Vec<String>,
    /// Where the names led then.
    pub dns: HashMap<Identifier, Dns>,
    /// What is waited for may be over when somebody comes from outside.
    pub hopes: bool,
    steps: (Instant, u32),
}

/// What the DNS had at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dns {
    /// Or it did not answer.
    NotAsked,
    /// To nowhere, where there are no addresses.
    Leads(BTreeSet<IpAddr>),
}

/// Alive as long as the CA may look.
pub(super) enum Answer {
    /// Withdrawn when dropped.
    Here {
        _offer: Offer,
    },
    Dns(Record),
}

impl Set {
    pub(super) fn new(wanted: Wanted) -> Set {
        let now = Instant::now();
        Set {
            id: wanted.set(),
            wanted,
            have: None,
            warned: None,
            facts: Facts::default(),
            orders: HashMap::new(),
            answers: HashMap::new(),
            due: now,
            put_off: None,
            shown: None,
            lacks: None,
            stuck: None,
            worries: Vec::new(),
            dns: HashMap::new(),
            // Until the plan has said what is waited for.
            hopes: true,
            steps: (now, 0),
        }
    }

    /// The same names under another configuration. What was found out about CAs and this machine may have changed; the
    /// orders are in the records.
    pub(super) fn reconfigured(self, wanted: Wanted) -> Set {
        let edited = self.wanted != wanted;
        // Whoever asked by hand wants more than an edit does.
        let nudge = match self.facts.nudge {
            Some(Nudge::Manual) => Some(Nudge::Manual),
            _ if edited => Some(Nudge::ConfigEdited),
            other => other,
        };
        let facts = Facts { nudge, orders: self.facts.orders, ..Facts::default() };
        Set { wanted, facts, due: Instant::now(), put_off: None, ..self }
    }

    pub(super) fn nudge(&mut self, nudge: Nudge) {
        // A human's wish is not replaced by a guess.
        if nudge != Nudge::LooksMended || self.facts.nudge.is_none() {
            self.facts.nudge = Some(nudge);
        }
        self.facts.preflight = None;
        self.due = Instant::now();
    }

    pub(super) fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    /// The names as the rest of the program knows them.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Hostname> + '_ {
        self.wanted.identifiers.iter().filter_map(|identifier| Hostname::try_from(identifier.0.as_str()).ok())
    }

    pub(super) fn show(&mut self, step: &Step) {
        self.shown = Some(step.clone());
    }

    /// Stops a plan that never waits.
    pub(super) fn count_step(&mut self, step: &Step) {
        if matches!(step, Step::Wait { .. } | Step::Operator { .. }) {
            return;
        }
        let (since, count) = &mut self.steps;
        if since.elapsed() > STEPS_WITHIN {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > STEPS {
            error!(names = names(&self.wanted.identifiers), ?step, "too many steps for one certificate; pausing");
            self.due = Instant::now() + STEPS_WITHIN;
        }
    }

    pub(super) fn put_off(&mut self, by: Duration) {
        self.due = Instant::now() + by;
    }

    /// The order is over, or its handle is stale.
    pub(super) fn forget_order(&mut self, directory: &DirectoryUrl) {
        self.orders.remove(directory);
        self.facts.orders.remove(directory);
    }
}
