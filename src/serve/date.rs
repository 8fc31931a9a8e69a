//! The `Date` of answers that come without one, made once a second.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;

thread_local! {
    static LAST: RefCell<Option<(Duration, HeaderValue)>> = const { RefCell::new(None) };
}

/// RFC 9110 §5.6.7.
pub fn value(now: SystemTime) -> HeaderValue {
    let second = Duration::from_secs(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    LAST.with_borrow_mut(|last| match last {
        Some((of, value)) if *of == second => value.clone(),
        _ => {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + second);
            let value = HeaderValue::try_from(text).unwrap_or(const { HeaderValue::from_static("") });
            last.insert((second, value)).1.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_second_that_it_is_asked_for() {
        let at = |millis| value(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
