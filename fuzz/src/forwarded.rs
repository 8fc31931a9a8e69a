//! `X-Forwarded-For` and `Forwarded` against a slow reading of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clawgate::headers::client_address::{Seen, client_address, is_inside};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// Each line is one of `X-Forwarded-For`, or of `Forwarded` if it begins with `F`. The peer is trusted.
pub fn forwarded(data: &[u8]) {
    let peer = IpAddr::from([10, 0, 0, 1]);
    let trusted: [IpNet; 2] = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let (mut listed, mut standard) = (None, None);
    let mut headers = HeaderMap::new();
    for line in super::lines(data) {
        let (name, all, line) = match line.strip_prefix(b"F") {
            Some(line) => ("forwarded", &mut standard, line),
            None => ("x-forwarded-for", &mut listed, line),
        };
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        headers.append(name, value);
        let all: &mut Vec<Option<IpAddr>> = all.get_or_insert_default();
        match name {
            "forwarded" => all.extend(elements(line).unwrap_or(vec![None])),
            _ => {
                let entries = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                all.extend(entries.filter(|entry| !entry.is_empty()).map(address));
            }
        }
    }
    let walk = |all: Vec<Option<IpAddr>>| {
        let good: Vec<IpAddr> = all.into_iter().rev().map_while(|entry| entry).collect();
        good.iter().find(|address| !is_inside(&trusted, **address)).or(good.last()).copied()
    };
    let (listed, standard) = (listed.map(walk), standard.map(walk));
    let told = listed.or(standard).flatten();
    let expected = Seen {
        address: told.unwrap_or(peer),
        via_trusted: told.is_some(),
        peer_loopback_claims: false,
        disputed: listed.is_some() && standard.is_some() && listed != standard,
    };
    assert_eq!(client_address(peer, &headers, &trusted), expected);
}

/// With a port there are two forms, without one three.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let without_port = text
        .rsplit_once(':')
        .filter(|(_, port)| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(before, _)| before);
    let with_port =
        without_port.and_then(|before| bracketed(before).or_else(|| Some(before.parse::<Ipv4Addr>().ok()?.into())));
    let found = with_port.or_else(|| bracketed(text)).or_else(|| text.parse().ok());
    found.map(|address| address.to_canonical())
}

/// Split at what stands outside of quotes; `None` if anything on the line is wrong.
fn elements(line: &[u8]) -> Option<Vec<Option<IpAddr>>> {
    let mut elements = vec![vec![Vec::new()]];
    let (mut quoted, mut escaped) = (false, false);
    for byte in line {
        let element: &mut Vec<Vec<u8>> = elements.last_mut().expect("never empty");
        match byte {
            b',' if !quoted => elements.push(vec![Vec::new()]),
            b';' if !quoted => element.push(Vec::new()),
            _ => {
                quoted ^= *byte == b'"' && !escaped;
                escaped = quoted && *byte == b'\\' && !escaped;
                element.last_mut().expect("never empty").push(*byte);
            }
        }
    }
    if quoted {
        return None;
    }
    let mut addresses = Vec::new();
    for element in elements {
        let pairs: Vec<&[u8]> = element.iter().map(|pair| pair.trim_ascii()).filter(|pair| !pair.is_empty()).collect();
        let mut all_for = Vec::new();
        for pair in &pairs {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (name, text) = (pair[..equals].trim_ascii_end(), pair[equals + 1..].trim_ascii_start());
            if name.is_empty() || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)) {
                return None;
            }
            let value = value(text)?;
            if name.eq_ignore_ascii_case(b"for") {
                all_for.push(address(&value));
            }
        }
        if !pairs.is_empty() {
            addresses.push(if let [one] = all_for[..] { one } else { None });
        }
    }
    Some(addresses)
}

fn value(text: &[u8]) -> Option<Vec<u8>> {
    if text.first() != Some(&b'"') {
        return (!text.contains(&b'"')).then(|| text.to_vec());
    }
    let mut value = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return (at + 1 == text.len()).then_some(value),
            b'\\' => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                value.push(*byte);
                at += 1;
            }
        }
    }
}
