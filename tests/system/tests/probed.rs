//! What `check --probe` says where the gateway does not take a backend: each answer by a real gateway, word for word.

use clawgate_system::{Gateway, Meddler, Proxy, machine::Report, on_both_gateways, proxy::HOST};

/// With `arguments` behind `--probe`.
async fn probe(proxy: &Proxy, arguments: &[&str]) -> Report {
    let (code, json) = proxy.checking(&[&["--only", "gateway", "--probe"], arguments].concat()).await;
    Report { code: Some(code), json }
}

/// The site is forwarded to this port while it lasts.
fn through(proxy: &Proxy, gateway: &Gateway, meddler: &Meddler) {
    proxy.change(|text| text.replace(&format!(":{}\"", gateway.port), &format!(":{}\"", meddler.port)));
}

on_both_gateways! {
    async fn a_probe_without_the_token_says_where_to_give_it(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let report = probe(&proxy, &[]).await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("probe/no-token"),
            [
                HOST,
                "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: \
                 unauthorized: gateway token missing (provide gateway auth token)",
                "the client sent no gateway token",
                "--token-file PATH, or OPENCLAW_GATEWAY_TOKEN in the environment of the check",
            ]
        );
        // The cure.
        probe(&proxy, &["--token-file", &gateway.token_file()]).await.finding("probe/approved");
    }

    /// Signed an hour ago, as by a machine whose clock is behind.
    async fn a_refusal_that_has_no_code_of_its_own_is_told_in_the_gateways_words(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let meddler = Meddler::before(gateway.port, |connect| {
            let signed = connect["device"]["signedAt"].as_i64().expect("a time");
            connect["device"]["signedAt"] = (signed - 3_600_000).into();
        })
        .await;
        through(&proxy, &gateway, &meddler);
        let report = probe(&proxy, &["--token-file", &gateway.token_file()]).await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("probe/refused"),
            [
                HOST,
                "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: device \
                 signature expired",
                "the client's clock and the gateway's are more than two minutes apart",
                "set both clocks by NTP: timedatectl set-ntp true",
            ]
        );
        assert!(!report.codes().contains(&"probe/approved"), "{report:#?}");
    }
}
