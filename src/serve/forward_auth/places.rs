//! Room for the questions under way: bounded, so that a service that is slow does not fill the memory, and shared out, so
//! that one client does not lock everybody else out.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use crate::network::Network;

/// Questions of one core under way.
const AT_ONCE: usize = 512;
/// Those of one client.
const OF_CLIENT: usize = AT_ONCE / 4;
/// Those of all strangers: the last quarter is for who is known, as it is in front of a gateway that is away.
const OF_STRANGERS: usize = AT_ONCE / 4 * 3;

/// One core's.
#[derive(Debug, Default)]
pub struct Places(RefCell<Taken>);

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_client: HashMap<Network, usize>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("{0} questions of one core wait for it")]
    Everybody(usize),
    /// It says nothing about the service.
    #[error("too many questions of this client")]
    Client,
}

impl Places {
    pub fn take(&self, client: IpAddr, known: bool) -> Result<Place<'_>, Full> {
        let client = Network::from(client);
        let mut taken = self.0.borrow_mut();
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= OF_CLIENT {
            return Err(Full::Client);
        }
        if taken.total >= if known { AT_ONCE } else { OF_STRANGERS } {
            return Err(Full::Everybody(taken.total));
        }
        taken.total += 1;
        taken.by_client.insert(client, of_client + 1);
        Ok(Place { places: self, client })
    }
}

/// One of the questions under way.
#[derive(Debug)]
pub struct Place<'a> {
    places: &'a Places,
    client: Network,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.0.borrow_mut();
        taken.total -= 1;
        if let Some(n) = taken.by_client.get_mut(&self.client) {
            *n -= 1;
            if *n == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}
