//! clawgate: the small edge proxy in front of an OpenClaw gateway.
//!
//! Rooms, from the bottom up: [`config`] (what the operator wrote), [`route`] and [`headers`] (pure decisions about a
//! request), [`allow`] (who may ask at all), [`limits`] (how often), [`login`] (who has to say a password), [`tls`] and [`listen`] (bytes from clients), [`acme`] (certificates from a CA), [`gateway`] (what is
//! OpenClaw's own), [`upstream`] (bytes to the gateway), [`serve`] (one connection, request by request), [`admin`] (the
//! unix socket), [`explain`] (a request's way and a code's meaning, offline), [`init`] (a first configuration), [`process`] (signals, systemd, logs,
//! reload), [`app`] (builds them bottom-up), [`check`] (what stands in the way, before the start). Below them all:
//! [`claim`] (which fields say who a client is), [`socket`] (a cheap TCP stream), [`network`] (whom an address stands for), [`cause`] (an error in one line), [`look`] (a request that is counted nowhere), [`shell`] (a word of a command that is pasted) and [`dns`] (what the DNS says about a name); above [`config`] alone [`hooks`] (who is
//! told what happened) and [`command`] (how our own commands are typed).

// They panic where the reader went away (`2>&1 | head`).
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod acme;
pub mod admin;
pub mod allow;
pub mod app;
pub mod cause;
pub mod challenge;
pub mod check;
pub mod claim;
pub mod command;
pub mod config;
pub mod dns;
pub mod exit;
pub mod explain;
pub mod gateway;
pub mod headers;
pub mod hooks;
pub mod init;
pub mod limits;
pub mod listen;
pub mod login;
pub mod look;
pub mod metrics;
pub mod network;
pub mod problems;
pub mod process;
pub mod route;
pub mod serve;
pub mod shell;
pub mod socket;
pub mod status;
pub mod tls;
pub mod top;
pub mod upstream;
