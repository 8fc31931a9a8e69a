//! The fields of an answer that tell a browser to be careful.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::{
    finding::{Code, did_you_mean},
    model::HeaderOps,
    value::{Value, Wrong},
};

/// Which of them a site adds where the answer has none. What its `response_headers` name is theirs alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityHeaders {
    pub nosniff: bool,
    pub frame: bool,
    pub referrer: bool,
    /// The value of `Strict-Transport-Security`, for answers over https.
    pub hsts: Option<HeaderValue>,
}

impl SecurityHeaders {
    pub(super) fn new(on: bool, Hsts(hsts): Hsts, ops: &HeaderOps) -> SecurityHeaders {
        let free = |name: &HeaderName| {
            let mut named =
                ops.remove.iter().chain(ops.set.iter().map(|(n, _)| n)).chain(ops.add.iter().map(|(n, _)| n));
            on && !named.any(|other| other == name)
        };
        let hsts = hsts.filter(|_| free(&header::STRICT_TRANSPORT_SECURITY));
        SecurityHeaders {
            nosniff: free(&header::X_CONTENT_TYPE_OPTIONS),
            frame: free(&header::X_FRAME_OPTIONS),
            referrer: free(&header::REFERRER_POLICY),
            // Neither includeSubDomains nor preload: they are about hosts that are not ours.
            hsts: hsts.map(|age| HeaderValue::try_from(format!("max-age={}", age.as_secs())).expect("it is ASCII")),
        }
    }
}

/// How long a browser shall remember to come over https only; `None` is not to say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts(pub Option<Duration>);

/// What a mistake costs lasts five minutes, and no downgrade of a visit under way is possible.
pub(super) const HSTS: Hsts = Hsts(Some(Duration::from_secs(300)));

/// The longest that anybody asks for: two years.
const LONGEST: Duration = Duration::from_secs(730 * 86_400);

impl Value for Hsts {
    const EXPECTED: &'static str = "a duration such as \"30d\", or \"off\"";

    fn parse(text: &str) -> Result<Hsts, Wrong> {
        if text == "off" {
            return Ok(Hsts(None));
        }
        let age = Duration::parse(text).map_err(|wrong| Wrong {
            instead: wrong.instead.or(did_you_mean(text, ["off"]).map(str::to_owned)),
            way_out: "a whole number and one of s, m, h, d: \"30d\", or \"off\"".into(),
            ..wrong
        })?;
        match age.subsec_nanos() == 0 && age <= LONGEST {
            true => Ok(Hsts(Some(age))),
            false => Err(Wrong::new(Code::ValueOutOfRange, "out of range", "whole seconds, at most 730d, or \"off\"")),
        }
    }

    fn placeholder(_: usize) -> Hsts {
        HSTS
    }
}
