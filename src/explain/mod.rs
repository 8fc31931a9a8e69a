//! What happens to a request, and what a code means: answers for an operator, from the configuration alone.
//!
//! [`question`] makes a request head out of words, [`request::explain`] sends it through the functions that the proxy
//! itself calls ([`crate::serve::head`]) and writes down what each step did to it, [`report`] shows that without its
//! secrets. [`code`] is the page of everything that has a name: findings, refusals, the gateway's troubles, exit codes.
//! Nothing here sends, opens or changes anything.

pub mod code;
pub mod fields;
pub mod question;
pub mod report;
pub mod request;
mod secret;
