//! Port 80: to https for hosts we serve, ACME challenges, nothing else.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};

use super::{
    body::{FromClient, ResponseBody},
    connection::Client,
    core::Core,
    finish::Finish,
    refusal::{Reason, Refusal, wants_html},
    snapshot::Snapshot,
};
use crate::headers::authority;

pub fn serve(core: &Rc<Core>, client: &Rc<Client>, request: &Request<FromClient>) -> Response<ResponseBody> {
    let mut finish = Box::new(Finish::new(core.clone(), client.clone(), request));
    let html = wants_html(request.headers());
    let mut response = match answer(core, client, request, &mut finish) {
        Ok(response) => response,
        Err(refusal) => {
            finish.refused(&refusal);
            refusal.response(html)
        }
    };
    if !http_body::Body::is_end_stream(request.body()) {
        // Its body is of no use to us.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status();
    response.map(|bytes| {
        finish.answered(status);
        ResponseBody::whole(bytes, Some(finish))
    })
}

fn answer(
    core: &Core,
    client: &Client,
    request: &Request<FromClient>,
    finish: &mut Finish,
) -> Result<Response<Bytes>, Refusal> {
    let snapshot = core.snapshot();
    let head = authority::Head {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
        protocol: None,
    };
    let Some(named) = authority::authority(&head)? else {
        return Err(Refusal::because(Reason::HostInvalid, "the request has no host"));
    };
    finish.host(&named.to_value());
    let host = named.host;
    if let Some(token) = request.uri().path().strip_prefix("/.well-known/acme-challenge/") {
        let pending = core.shared.challenges.http(token).ok_or(Reason::ChallengeUnknown)?;
        let mut response = Response::new(Bytes::from(pending.as_bytes().to_vec()));
        const KIND: HeaderValue = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, KIND);
        return Ok(response);
    }
    client.knocks(core, &host);
    let site = snapshot.site(&host).ok_or(Reason::Misdirected)?;
    finish.site(&snapshot, site);
    let location = location(&snapshot, &host, request.uri())?;
    let mut response = Response::new(Bytes::new());
    // 308 keeps the method: a POST to http is not turned into a GET (RFC 9110 §15.4.9).
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Where a request for `uri` at `host` is sent.
pub fn location(snapshot: &Snapshot, host: &str, uri: &Uri) -> Result<HeaderValue, Refusal> {
    // A redirect leads only to hosts we serve: anything else would make us a redirector for anyone.
    snapshot.site(host).ok_or(Reason::Misdirected)?;
    let target = uri.path_and_query().map_or("/", |p| p.as_str());
    let target = if target.starts_with('/') { target } else { "/" };
    let host: &str = if host.contains(':') { &format!("[{host}]") } else { host };
    let location = match snapshot.https_port {
        Some(port) => format!("https://{host}:{port}{target}"),
        None => format!("https://{host}{target}"),
    };
    HeaderValue::try_from(location)
        .map_err(|_| Refusal::because(Reason::HostInvalid, "the path holds bytes that cannot be redirected"))
}
