//! `clawgate hash-password`.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use clawgate::{exit, login};
use zeroize::Zeroizing;

pub(super) fn run() -> anyhow::Result<u8> {
    let password = if std::io::stdin().is_terminal() { typed()? } else { piped()? };
    if password.is_empty() {
        eprintln!("clawgate: no password came, and none is no password");
        return Ok(exit::USAGE);
    }
    let hash =
        login::hash(password.as_bytes()).map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    super::print(&format!("password_hash = \"{hash}\"\n"))
}

/// Twice, and shown never.
fn typed() -> anyhow::Result<Zeroizing<String>> {
    let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot read from the terminal");
    let password = ask("Password: ")?;
    if *ask("The same again: ")? != *password {
        bail!("the two are not the same; nothing was made");
    }
    Ok(password)
}

/// The first line of what comes, for scripts.
fn piped() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from stdin")?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
