//! `clawgate check` by the real binary, with each snag of the setup guide made for real in a network of the test's own:
//! a name server, addresses, a packet filter, a port that somebody else has, a CA; and what it leaves as it was.

mod ca;
mod caa;
mod clouds;
mod dynamic;
mod ingress;
mod machine;
mod moved;
mod names;
mod staging;
mod untouched;
mod user;
