//! What a client is answered: a page for browsers, JSON for the others.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Reason, Refusal, Row};
use crate::headers::{hop, method};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Refusal {
    /// The answer: a page for browsers, JSON for the others.
    pub fn response(&self, html: bool) -> Response<Bytes> {
        let row = &self.row;
        let (kind, body) =
            if html { ("text/html; charset=utf-8", self.page(row)) } else { ("application/json", self.json(row)) };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if kind.starts_with("text/html") {
            const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        }
        let status = format!("clawgate; error={}", row.error);
        headers.insert(PROXY_STATUS, status.try_into().expect("error types are tokens"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, after.as_secs().into());
        }
        if let Some(challenge) = &self.authenticate {
            headers.insert(header::WWW_AUTHENTICATE, (**challenge).clone());
        }
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 §15.5.6 wants the methods that do work.
            const ALLOW: HeaderValue = HeaderValue::from_static(method::ALLOW);
            headers.insert(header::ALLOW, ALLOW);
        }
        if row.name == Reason::UpgradeInvalid.row().name {
            // RFC 6455 §4.4: the version that does work.
            headers.insert(header::SEC_WEBSOCKET_VERSION, const { HeaderValue::from_static("13") });
            if row.status == StatusCode::UPGRADE_REQUIRED {
                // RFC 9110 §15.5.22.
                hop::ask_websocket(headers);
            }
        }
        response
    }

    fn json(&self, row: &Row) -> String {
        let mut object = serde_json::json!({
            "status": row.status.as_u16(),
            "error": row.name,
            "message": row.text,
        });
        if let Some(detail) = &self.detail {
            object["detail"] = detail.as_ref().into();
        }
        let mut text = object.to_string();
        text.push('\n');
        text
    }

    fn page(&self, row: &Row) -> String {
        let title = row.status.canonical_reason().unwrap_or("Error");
        let mut page = String::with_capacity(1024);
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {title}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:12vh auto;padding:0 1em}}\
             code{{display:block;padding:.7em;background:#8882;overflow-wrap:anywhere}}\
             small{{opacity:.7}}</style><h1>{title}</h1><p>{text}</p>",
            code = row.status.as_u16(),
            text = Escaped(row.text),
        );
        if let Some(detail) = &self.detail {
            let _ = write!(page, "<code>{}</code>", Escaped(detail));
        }
        let _ = writeln!(page, "<p><small>{} {} &middot; clawgate</small></p></html>", row.status.as_u16(), row.name);
        page
    }
}

pub fn wants_html(request: &HeaderMap) -> bool {
    request.get(header::ACCEPT).is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
