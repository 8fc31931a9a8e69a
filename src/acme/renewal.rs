//! When a certificate is to be renewed (RFC 9773, or a share of its life without it).

use super::model::{Ari, CaTime, Have, SetRecord};

/// The renewal instant of a certificate, by what is known.
pub fn due_at(have: &Have, record: &SetRecord) -> CaTime {
    match ari_of(have, record).and_then(|ari| ari.chosen) {
        // The CA may move a window, but not past the time we need to mend what might be broken.
        Some(chosen) => chosen.min(last_call(have)),
        None => without_ari(have),
    }
}

/// Two thirds of its life; half where that is below ten days, as the CA itself does.
fn without_ari(have: &Have) -> CaTime {
    let life = have.not_after.since(have.not_before);
    have.not_before.plus(if life < 10 * 86_400 { life / 2 } else { life / 3 * 2 })
}

/// The last sixth of its life begins: no caution is worth letting it expire.
pub fn last_call(have: &Have) -> CaTime {
    have.not_after.minus(have.not_after.since(have.not_before) / 6)
}

/// The renewal information, if it is this certificate's.
pub fn ari_of<'a>(have: &Have, record: &'a SetRecord) -> Option<&'a Ari> {
    record.ari.as_ref().filter(|ari| have.ari_id.as_ref() == Some(&ari.id))
}

/// A uniformly random instant of the window (RFC 9773 §4.2); a window in the past (a revoked certificate) is over.
pub fn choose(window: (CaTime, CaTime), random: u64) -> CaTime {
    let (start, end) = window;
    start.plus(random % (end.since(start) + 1))
}

/// RFC 9773 §4.3: Retry-After, but neither a hot loop nor a month.
pub fn poll_after(told: Option<std::time::Duration>) -> u64 {
    told.map_or(6 * 3600, |told| told.as_secs().clamp(60, 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(life: u64) -> Have {
        Have {
            identifiers: vec!["a.test".into()],
            not_before: CaTime(1_000_000),
            not_after: CaTime(1_000_000 + life),
            directory: None,
            ari_id: Some("id".into()),
        }
    }

    #[test]
    fn without_renewal_information_two_thirds_and_for_short_lives_half() {
        let record = SetRecord::default();
        assert_eq!(due_at(&have(90 * 86_400), &record), CaTime(1_000_000 + 60 * 86_400));
        assert_eq!(due_at(&have(160 * 3600), &record), CaTime(1_000_000 + 80 * 3600));
    }

    #[test]
    fn the_chosen_instant_counts_unless_it_is_too_late_or_another_certificates() {
        let ari = |id: &str, chosen| Ari {
            id: id.into(),
            window: None,
            chosen: Some(chosen),
            next_poll: CaTime(0),
            explanation_url: None,
        };
        let with = |ari| SetRecord { ari: Some(ari), ..SetRecord::default() };
        let have = have(90 * 86_400);
        assert_eq!(due_at(&have, &with(ari("id", CaTime(7)))), CaTime(7));
        assert_eq!(due_at(&have, &with(ari("id", CaTime(u64::MAX)))), CaTime(1_000_000 + 75 * 86_400));
        assert_eq!(due_at(&have, &with(ari("other", CaTime(7)))), CaTime(1_000_000 + 60 * 86_400));
    }

    #[test]
    fn the_choice_lies_inside_the_window() {
        for random in [0, 1, 99, u64::MAX] {
            let chosen = choose((CaTime(100), CaTime(200)), random);
            assert!((100..=200).contains(&chosen.0));
        }
        assert_eq!(choose((CaTime(100), CaTime(100)), 5), CaTime(100));
        assert_eq!(choose((CaTime(200), CaTime(100)), 5), CaTime(200));
    }
}
