//! Which host names a public CA could vouch for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::Hostname;

/// Top-level domains that are nobody's on the public internet: RFC 6761 (`test`, `example`, `invalid`, `localhost`),
/// RFC 6762 (`local`, and appendix G's private ones), RFC 7686 (`onion`), RFC 9476 (`alt`), and those that ICANN will not
/// delegate (`internal`, `home`, `corp`, `mail`).
const PRIVATE_TLDS: [&str; 14] = [
    "test",
    "example",
    "invalid",
    "localhost",
    "local",
    "intranet",
    "private",
    "lan",
    "onion",
    "alt",
    "internal",
    "home",
    "corp",
    "mail",
];

/// Whether `host` is a name below a public domain or a public address.
pub(super) fn is_public(host: &Hostname) -> bool {
    match host.ip() {
        Some(ip) => is_public_address(ip),
        None => is_public_name(host.wildcard_suffix().unwrap_or(host.as_str())),
    }
}

/// Whether anybody on the internet could reach `ip`.
pub fn is_public_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_name(name: &str) -> bool {
    // A public suffix itself (`*.com`) would be refused too; the CA knows that list, and says so.
    let Some((_, tld)) = name.rsplit_once('.') else { return false };
    // The Baseline Requirements (§7.1.4.2.1) know no underscores. Home networks: RFC 8375. Reverse zones are no names.
    !name.contains('_') && !PRIVATE_TLDS.contains(&tld) && tld != "arpa" && !tld.bytes().all(|b| b.is_ascii_digit())
}

/// IANA's special-purpose registry: what is not globally reachable (RFC 6890 and later entries).
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

/// Global unicast is `2000::/3`; inside it, Teredo, benchmarks, 6to4 and documentation are not for us.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    (a & 0xe000) == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_the_public_internet_are_public() {
        let public = [
            "example.com",
            "a.b.example.org",
            "*.example.net",
            "xn--bcher-kva.de",
            "1.1.1.1",
            "2606:4700::1111",
            "203.0.114.1",
            "172.32.0.1",
            "internal.example.com",
            "test.de",
        ];
        for name in public {
            assert!(Hostname::try_from(name).unwrap().is_public(), "{name}");
        }
        let private = [
            "localhost",
            "gateway",
            "a.localhost",
            "a.test",
            "printer.local",
            "x.internal",
            "*.internal",
            "*.com",
            "box.lan",
            "nas.home.arpa",
            "a_b.example.com",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "100.100.1.1",
            "169.254.169.254",
            "192.0.2.10",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:1.1.1.1",
            "a.example",
        ];
        for name in private {
            assert!(!Hostname::try_from(name).unwrap().is_public(), "{name}");
        }
    }
}
