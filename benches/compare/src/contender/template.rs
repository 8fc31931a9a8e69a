//! A contender's config file: a template of the tree with names filled in. Pure.
//!
//! `{{name}}` becomes the value of `name`. A line whose first word is `{{log}}` is there only when the access log
//! is on, one with `{{no-log}}` only when it is off, one with `{{reload}}` only when [`GENERATION`] has a value.

use anyhow::{Context as _, Result, bail};

use super::GENERATION;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessLog {
    Off,
    On,
}

pub fn render<V: AsRef<str>>(template: &str, access_log: AccessLog, values: &[(&str, V)]) -> Result<String> {
    let mut out = String::with_capacity(template.len() * 2);
    let conditions = [
        ("{{log}} ", access_log == AccessLog::On),
        ("{{no-log}} ", access_log == AccessLog::Off),
        ("{{reload}} ", values.iter().any(|(name, _)| *name == GENERATION)),
    ];
    for line in template.lines() {
        let bare = line.trim_start();
        let held = conditions.iter().find_map(|(word, holds)| Some((bare.strip_prefix(word)?, *holds)));
        let line = match held {
            Some((rest, true)) => rest,
            Some((_, false)) => continue,
            None => line,
        };
        fill(line, values, &mut out).with_context(|| format!("in the line {line:?}"))?;
        out.push('\n');
    }
    Ok(out)
}

fn fill<V: AsRef<str>>(line: &str, values: &[(&str, V)], out: &mut String) -> Result<()> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { bail!("a placeholder is not closed") };
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name) else {
            bail!("nothing is called {name:?}");
        };
        out.push_str(before);
        out.push_str(value.as_ref());
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_other_variant_are_dropped() {
        let template = "a\n  {{log}} on {{x}}\n  {{no-log}} off\nb {{x}}-{{y}}";
        let values = [("x", "1"), ("y", "2")];
        assert_eq!(render(template, AccessLog::On, &values).unwrap(), "a\non 1\nb 1-2\n");
        assert_eq!(render(template, AccessLog::Off, &values).unwrap(), "a\noff\nb 1-2\n");
    }

    #[test]
    fn lines_about_reloads_are_there_when_the_generation_has_a_value() {
        let template = "a\n{{reload}}   b {{generation}}\n";
        assert_eq!(render(template, AccessLog::Off, &[(GENERATION, "3")]).unwrap(), "a\n  b 3\n");
        assert_eq!(render::<&str>(template, AccessLog::Off, &[]).unwrap(), "a\n");
    }

    #[test]
    fn a_name_that_is_not_known_is_an_error() {
        assert!(render::<&str>("{{nothing}}", AccessLog::Off, &[]).is_err());
        assert!(render("{{nothing", AccessLog::Off, &[("nothing", "")]).is_err());
    }
}
