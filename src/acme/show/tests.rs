use super::*;
use crate::acme::model::{Directory, Have, NotBefore, Records, Wanted};

const CA: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// A day's noon.
const NOON: CaTime = CaTime(20_000 * DAY + DAY / 2);

fn shown(step: Step, have: Option<Have>) -> Shown {
    let directories = vec![Directory { url: CA.into(), staging: None, eab: false }];
    let wanted = Wanted { identifiers: vec!["a.example.com".into()], directories, profile: None, dns01: false };
    Shown { wanted, have, step: Some(step), warnings: Vec::new() }
}

fn picture(shown: Shown, records: Records) -> Picture {
    Picture { now: NOON, sets: vec![shown], records }
}

fn only(picture: &Picture, chain: Option<&str>) -> (Row, String) {
    let rows = rows(picture, |_| chain.map(str::to_owned));
    let text = text(&rows, picture.now);
    (rows.into_iter().next().unwrap(), text)
}

#[test]
fn the_bucket_is_said_in_words() {
    let mut records = Records::first();
    let bucket = &mut records.directories.entry(CA.into()).or_default().identifiers;
    let bucket = &mut bucket.entry("a.example.com".into()).or_default().bucket;
    bucket.spend(CHALLENGES, NOON.minus(300));
    bucket.spend(CHALLENGES, NOON.minus(200));
    let wait = Step::Wait { until: NOON.plus(600), why: Why::Schedule { failures: 2 } };
    let (row, text) = only(&picture(shown(wait, None), records.clone()), None);
    // The first came back 15 minutes after it was spent.
    assert_eq!(row.buckets[0].text, "2 of 4 spent, next free 12:10");
    assert_eq!(row.buckets[0].next_free, Some(NOON.0 + 600));
    assert!(text.contains("next         get the first one 12:10: after 2 failures it waits"), "{text}");
    let record = records.directories.get_mut(&CA.into()).unwrap();
    record.identifiers.get_mut(&"a.example.com".into()).unwrap().bucket.spent_at_next_date = true;
    let wait = Step::Wait { until: NOON, why: Why::NotDue };
    let (row, _) = only(&picture(shown(wait, None), records), None);
    assert_eq!(row.buckets[0].text, "4 of 4 spent, next free 15 min after the CA is asked first");
}

#[test]
fn the_last_problem_is_in_the_cas_words_with_its_page() {
    let detail = "too many failed authorizations (5) for \"a.example.com\", retry after 2026-11-22 15:43:25 UTC: \
                  see https://letsencrypt.org/docs/rate-limits/#x.";
    let mut records = Records::first();
    let problem = Problem { kind: "rateLimited".into(), detail: detail.into(), status: 429 };
    let set = records.sets.entry("a.example.com".into()).or_default();
    set.last_problem = Some((NOON.minus(60), problem.clone()));
    let wait = || Step::Wait { until: NOON.plus(DAY), why: Why::RetryAfter { problem: "later".into() } };
    let (row, text) = only(&picture(shown(wait(), None), records.clone()), None);
    let trouble = row.problem.unwrap();
    assert_eq!(trouble.text, detail);
    assert_eq!(trouble.page.as_deref(), Some("https://letsencrypt.org/docs/rate-limits/#x"));
    assert!(
        text.contains("problem      11:59 rateLimited: too many failed") && text.contains("see https://letsencrypt")
    );

    let page = "https://portal.letsencrypt.org/sfe/v1/unpause?jwt=x";
    let held = NotBefore { until: NOON.plus(DAY), why: problem, url: Some(page.into()), kind: Hold::Paused };
    records.sets.get_mut(&"a.example.com".into()).unwrap().not_before.insert(CA.into(), held);
    let (row, _) = only(&picture(shown(wait(), None), records), None);
    let trouble = row.problem.unwrap();
    assert_eq!(trouble.page.as_deref(), Some(page));
    assert!(trouble.text.ends_with("(paused until somebody visits that page)"), "{}", trouble.text);
}

#[test]
fn a_certificate_shows_issuer_serial_days_and_window() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
    params.serial_number = Some(vec![0x03, 0xab, 0x01].into());
    let at = |time: CaTime| std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.0);
    params.not_after = at(NOON.plus(30 * DAY)).into();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Let's Encrypt");
    let chain = params.self_signed(&key).unwrap().pem();
    let have = Have {
        identifiers: vec!["a.example.com".into()],
        not_before: NOON.minus(15 * DAY),
        not_after: NOON.plus(30 * DAY),
        directory: Some(CA.into()),
        ari_id: Some("id".into()),
    };
    let mut records = Records::first();
    let window = Some((NOON.plus(10 * DAY), NOON.plus(12 * DAY)));
    let ari = crate::acme::model::Ari {
        id: "id".into(),
        window,
        chosen: Some(NOON.plus(11 * DAY)),
        next_poll: NOON,
        explanation_url: None,
    };
    records.sets.entry("a.example.com".into()).or_default().ari = Some(ari);
    let wait = Step::Wait { until: NOON.plus(3600), why: Why::RenewalChosen };
    let mut picture = picture(shown(wait, Some(have)), records);
    let (row, text) = only(&picture, Some(&chain));
    let installed = row.certificate.unwrap();
    assert_eq!((installed.serial.as_str(), installed.days_left, installed.expired), ("03:ab:01", 30, false));
    assert!(installed.issuer.contains("Let's Encrypt"), "{}", installed.issuer);
    assert_eq!(row.next.at, Some(NOON.0 + 11 * DAY), "when it is renewed, not when it is looked at");
    assert!(text.starts_with("a.example.com\n  issuer "), "{text}");
    picture.now = NOON.plus(31 * DAY);
    let (row, text) = only(&picture, Some(&chain));
    assert!(row.certificate.unwrap().expired && text.contains("EXPIRED "), "{text}");
}

#[test]
fn what_a_ca_writes_cannot_move_the_cursor() {
    let mut records = Records::first();
    let problem = Problem { kind: "malformed".into(), detail: "a\x1b[2Jb\nc".into(), status: 400 };
    records.sets.entry("a.example.com".into()).or_default().last_problem = Some((NOON, problem));
    let operator = Step::Operator { why: "caa".into(), url: None, until: NOON.plus(DAY), untold: None };
    let (_, text) = only(&picture(shown(operator, None), records), None);
    assert!(!text.contains('\x1b') && text.contains("a [2Jb c"), "{text}");
    assert!(text.contains("it needs you: caa"), "{text}");
}

#[test]
fn while_nobody_serves_the_files_say_the_same() {
    let state = tempfile::tempdir().unwrap();
    let store = crate::acme::store::FileStore::look(state.path());
    let wanted = shown(Step::Preflight { directory: "ca".into() }, None).wanted;
    let picture = offline::picture(&store, &[wanted], NOON).unwrap();
    let (row, text) = only(&picture, None);
    assert_eq!(row.certificate, None);
    assert!(text.contains("next         get the first one now: "), "{text}");
}
