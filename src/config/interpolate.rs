//! `${env:NAME}`, `${file:/PATH}` and `${cred:NAME}` in strings; `$${` is a plain `${`.
//!
//! What is put in is not looked at again: a value that contains `${` is just text.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

/// Where a reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A variable of the service's environment.
    Env,
    /// A file, by absolute path; one line break at its end is not part of the value.
    File,
    /// A systemd credential (`LoadCredential=`), treated as a file.
    Cred,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Env => "env",
            Kind::File => "file",
            Kind::Cred => "cred",
        })
    }
}

/// What a source of values knows about a reference.
#[derive(Clone, PartialEq, Eq)]
pub enum Lookup {
    Value(String),
    /// From a file that every user of this machine may read; the command that mends it.
    Exposed {
        value: String,
        cure: String,
    },
    /// It is not there; where it should be set. An error.
    Unset(String),
    /// It cannot be seen from here; why. A warning.
    Unknown(String),
}

/// Without the value.
impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookup::Value(_) => f.write_str("Value"),
            Lookup::Exposed { cure, .. } => f.debug_tuple("Exposed").field(cure).finish(),
            Lookup::Unset(way_out) => f.debug_tuple("Unset").field(way_out).finish(),
            Lookup::Unknown(why) => f.debug_tuple("Unknown").field(why).finish(),
        }
    }
}

/// Whoever knows the values: the service's own environment, the installed unit, or a test.
pub trait Secrets {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup;
}

/// Nothing is set.
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn look_up(&self, kind: Kind, _: &str) -> Lookup {
        Lookup::Unset(format!("{kind} is not available here"))
    }
}

/// Values that are given; anything else is unset.
impl Secrets for BTreeMap<(Kind, String), Lookup> {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup {
        match self.get(&(kind, name.to_owned())) {
            Some(lookup) => lookup.clone(),
            None => Lookup::Unset("set it".into()),
        }
    }
}

/// A string after interpolation.
#[derive(Clone, PartialEq, Eq)]
pub enum Text {
    /// As it stands in the file.
    Literal(String),
    /// Partly from outside: not to be printed.
    Secret(String),
    /// The same, and everybody may read where it comes from: the reference to that, and the command that mends it.
    Exposed { text: String, reference: String, cure: String },
    /// Partly unknown here.
    Unknown,
}

/// Without what is not to be printed.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Literal(text) => f.debug_tuple("Literal").field(text).finish(),
            Text::Secret(_) => f.write_str("Secret"),
            Text::Exposed { reference, .. } => f.debug_tuple("Exposed").field(reference).finish(),
            Text::Unknown => f.write_str("Unknown"),
        }
    }
}

/// What is wrong with one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The reference as written, and the way out.
    Syntax(String, &'static str),
    Unset(String, String),
    Unknown(String, String),
}

/// `None` for the text if any reference is wrong or unset.
pub fn interpolate(text: &str, secrets: &dyn Secrets) -> (Option<Text>, Vec<Trouble>) {
    let mut out = String::with_capacity(text.len());
    let (mut secret, mut unknown, mut failed) = (false, false, false);
    let mut exposed = None;
    let mut troubles = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            troubles.push(Trouble::Syntax(rest[at..].to_owned(), "close it with }, or write $${ for a plain ${"));
            return (None, troubles);
        };
        let reference = &rest[at..=at + end];
        rest = &rest[at + end + 1..];
        let (kind, name) = match parse_reference(reference) {
            Ok(parsed) => parsed,
            Err(way_out) => {
                troubles.push(Trouble::Syntax(reference.to_owned(), way_out));
                failed = true;
                continue;
            }
        };
        match secrets.look_up(kind, name) {
            Lookup::Value(value) => {
                out.push_str(&Zeroizing::new(value));
                secret = true;
            }
            Lookup::Exposed { value, cure } => {
                out.push_str(&Zeroizing::new(value));
                exposed = Some((reference.to_owned(), cure));
            }
            Lookup::Unset(way_out) => {
                troubles.push(Trouble::Unset(reference.to_owned(), way_out));
                failed = true;
            }
            Lookup::Unknown(why) => {
                troubles.push(Trouble::Unknown(reference.to_owned(), why));
                unknown = true;
            }
        }
    }
    out.push_str(rest);
    let text = match (failed, unknown, exposed, secret) {
        (true, ..) => None,
        (_, true, ..) => Some(Text::Unknown),
        (_, _, Some((reference, cure)), _) => Some(Text::Exposed { text: out, reference, cure }),
        (_, _, _, true) => Some(Text::Secret(out)),
        _ => Some(Text::Literal(out)),
    };
    (text, troubles)
}

fn parse_reference(reference: &str) -> Result<(Kind, &str), &'static str> {
    let inner = &reference[2..reference.len() - 1];
    let (kind, name) = inner.split_once(':').ok_or("write ${env:NAME}, or $${ for a plain ${")?;
    let kind = match kind {
        "env" => Kind::Env,
        "file" => Kind::File,
        "cred" => Kind::Cred,
        _ => return Err("one of ${env:NAME}, ${file:/PATH}, ${cred:NAME}"),
    };
    let good = match kind {
        Kind::Env => !name.is_empty() && !name.contains(['=', '\0']),
        Kind::File => name.starts_with('/') && !name.contains('\0'),
        // systemd.exec(5): a credential's name is a file name.
        Kind::Cred => !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..",
    };
    match (good, kind) {
        (true, _) => Ok((kind, name)),
        (_, Kind::Env) => Err("a variable's name follows env:"),
        (_, Kind::File) => Err("an absolute path follows file:"),
        (_, Kind::Cred) => Err("a credential's name, without slashes, follows cred:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<(Kind, String), Lookup> {
        BTreeMap::from([
            ((Kind::Env, "A".into()), Lookup::Value("${env:B}".into())),
            ((Kind::Cred, "far".into()), Lookup::Unknown("not mounted".into())),
        ])
    }

    fn run(text: &str) -> (Option<Text>, Vec<Trouble>) {
        interpolate(text, &secrets())
    }

    #[test]
    fn a_value_is_put_in_once_and_not_read_again() {
        assert_eq!(run("x${env:A}y"), (Some(Text::Secret("x${env:B}y".into())), vec![]));
    }

    #[test]
    fn two_dollars_escape_a_reference() {
        assert_eq!(run("$${env:A} $5 $"), (Some(Text::Literal("${env:A} $5 $".into())), vec![]));
    }

    #[test]
    fn every_reference_of_a_string_is_reported() {
        let (text, troubles) = run("${env:B} ${nope} ${file:rel} ${cred:../x} ${env:} ${cred:far} ${");
        assert_eq!(text, None);
        assert_eq!(troubles.len(), 7, "{troubles:?}");
    }

    #[test]
    fn an_unknown_value_makes_the_whole_string_unknown() {
        assert_eq!(run("Bearer ${cred:far}").0, Some(Text::Unknown));
    }
}
