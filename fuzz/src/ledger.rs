//! Any row of spends, dates, restarts and losses: the ledger never gives more than a bucket that is counted by hand.

use clawgate::acme::{
    ledger::{CHALLENGES, time},
    model::{Bucket, CaTime, ChallengeType, DirectoryUrl, Identifier, Records, SetId},
    state::{Event, apply},
};

/// What is left to come back, in seconds, and as of when; nothing is known of a time before the next date.
#[derive(Clone, Copy)]
enum Debt {
    Known { seconds: u64, at: u64 },
    AllAtNextDate,
}

const ALL: u64 = 4 * 900;

/// Two bytes are one operation: what, and how much.
pub fn ledger(data: &[u8]) {
    let directory = DirectoryUrl("https://ca.test/directory".into());
    let identifier = Identifier("a.test".into());
    let set = SetId("a.test".into());
    let mut records = Records::first();
    let mut clock = 1_000_000_000_u64;
    // The date that this process has read last, and our clock then.
    let mut date: Option<(u64, u64)> = None;
    let mut debt = Debt::Known { seconds: 0, at: 0 };
    let (mut by_ledger, mut by_clock) = (Vec::new(), Vec::new());
    let mut all_dates_true = true;
    for operation in data.as_chunks::<2>().0.iter().take(300) {
        let much = u64::from(operation[1]);
        match operation[0] % 8 {
            0 => clock += much,
            1 => clock += much * 60,
            kind @ (2 | 3) => {
                // A date that is up to a day behind: one server of many, or a cache.
                let behind = if kind == 2 { 0 } else { much * 330 };
                all_dates_true &= behind == 0;
                let told = clock - behind;
                date = Some((told, clock));
                apply(&mut records, &Event::DirectoryRead { directory: directory.clone(), date: CaTime(told) });
                if let Debt::AllAtNextDate = debt {
                    debt = Debt::Known { seconds: ALL, at: records.last_time.0 };
                }
            }
            4 => {
                let text = serde_json::to_vec(&records).expect("JSON");
                records = serde_json::from_slice(&text).expect("what was written");
                apply(&mut records, &Event::Started);
                date = None;
            }
            5 if much < 32 => {
                records = Records::lost("in this test");
                (date, debt) = (None, Debt::AllAtNextDate);
                by_ledger.clear();
            }
            6 if much < 32 => {
                let identifiers = vec![identifier.clone()];
                apply(&mut records, &Event::Imported { directory: directory.clone(), account: None, identifiers });
                debt = Debt::AllAtNextDate;
            }
            _ => {
                let Some((told, then)) = date else { continue };
                let now = time(records.last_time, CaTime(told + (clock - then)));
                let known = records.directories.get(&directory).and_then(|d| d.identifiers.get(&identifier));
                let lost = records.lost.as_ref().and_then(|lost| lost.at).map(|at| Bucket::empty(CHALLENGES, at));
                let bucket = known.map(|record| record.bucket).or(lost).unwrap_or_default();
                let left = match debt {
                    Debt::Known { seconds, at } => seconds.saturating_sub(now.0 - at),
                    Debt::AllAtNextDate => ALL,
                };
                let permitted = left <= ALL - 900;
                assert_eq!(bucket.permits(CHALLENGES, now), permitted, "{now:?} {bucket:?}");
                let tokens = if let Debt::Known { .. } = debt { (ALL - left) / 900 } else { 0 };
                assert_eq!(bucket.left(CHALLENGES, now), tokens, "{now:?} {bucket:?}");
                if !permitted {
                    continue;
                }
                debt = Debt::Known { seconds: left + 900, at: now.0 };
                by_ledger.push(now.0);
                by_clock.push(clock);
                let challenge = ChallengeType::Http01;
                let (directory, identifier) = (directory.clone(), identifier.clone());
                apply(&mut records, &Event::Spent { at: now, set: set.clone(), directory, identifier, challenge });
            }
        }
    }
    within_the_limit(&by_ledger);
    if all_dates_true {
        within_the_limit(&by_clock);
    }
}

/// Four, and one for each quarter of an hour, in every window.
fn within_the_limit(spent: &[u64]) {
    for (first, from) in spent.iter().enumerate() {
        for (last, to) in spent.iter().enumerate().skip(first) {
            assert!((last - first + 1) as u64 <= 4 + (to - from) / 900, "{spent:?}");
        }
    }
}
