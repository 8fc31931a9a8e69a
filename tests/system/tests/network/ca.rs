//! What a CA wants, where it comes to, and listeners that are not where anybody comes to.

use clawgate_system::{
    Authority, Certified, Machine,
    alone::alone,
    machine::{DNS, HOST, OURS, report},
    ports,
};

const RIGHT: &str = "chat.example.com A 203.0.114.7";

#[test]
fn a_profile_that_the_ca_does_not_have_and_an_account_that_it_does_not_give() {
    let name = "ca::a_profile_that_the_ca_does_not_have_and_an_account_that_it_does_not_give";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        machine.edit(|text| text.replace("[acme]\n", "[acme]\nprofile = \"tlsclient\"\n"));
        let at = |ca: &Authority| ca.address().to_string();
        let report = machine.look("acme").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("acme/no-such-profile"),
            [
                &machine.ca.directory(),
                &format!("{} has no profile \"tlsclient\"; it offers default, shortlived, tlsserver", at(&machine.ca)),
                "it would refuse every order",
                "take profile out of [acme], and the fitting one is chosen",
            ]
        );
        machine.edit(|text| text.replace("profile = \"tlsclient\"\n", ""));
        assert_eq!(machine.look("acme").await.snags(), [""; 0]);

        let customers = Authority::options().eab().run().await;
        machine.certified_by(&customers);
        let report = machine.look("acme").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["acme/eab-wanted"]), "{report:#?}");
        assert_eq!(
            report.finding("acme/eab-wanted"),
            [
                &customers.directory(),
                &format!("{} gives accounts to its customers only", at(&customers)),
                "it would refuse the account, and without one there are no orders",
                "eab = { kid = \"...\", hmac = \"...\" } in [acme], from the CA's web site",
            ]
        );
        machine.edit(|text| text.replace("[acme]\n", "[acme]\neab = { kid = \"kid-1\", hmac = \"zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\" }\n"));
        assert_eq!(machine.look("acme").await.snags(), [""; 0]);
    });
}

#[test]
fn listeners_where_nobody_comes_to_are_found() {
    alone("ca::listeners_where_nobody_comes_to_are_found", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let listen = |https: &str, http: &str| {
            let table =
                |address: &str, serve: &str| format!("[[listen]]\naddress = \"{address}\"\nserve = \"{serve}\"\n");
            format!("{}{}", table(https, "https"), table(http, "redirect"))
        };
        let text = std::fs::read_to_string(machine.config()).unwrap();
        let with = |https: &str, http: &str| {
            let text = text.replace("[[site]]", &format!("{}[[site]]", listen(https, http)));
            std::fs::write(machine.config(), text).unwrap();
        };
        // Another address of this machine than the name's.
        with("203.0.114.53:443", "203.0.114.53:80");
        let report = machine.look("dns,ports").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/no-listener"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/no-listener"),
            [
                HOST,
                "chat.example.com points to 203.0.114.7, and no listener of the configuration takes connections there",
                "connections to it are refused, and a CA that tries it first does not try another",
                "[[listen]] with address = \"0.0.0.0:443\", and one with \"0.0.0.0:80\"; or take away \
                 `chat.example.com. A 203.0.114.7`",
            ]
        );
        // The outer address of a machine behind address translation.
        with("203.0.115.8:443", "0.0.0.0:80");
        let report = machine.look("ports").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["ports/not-here"]), "{report:#?}");
        assert_eq!(
            report.finding("ports/not-here"),
            [
                "203.0.115.8:443",
                "no interface of this machine has 203.0.115.8",
                "clawgate cannot listen there and would not start",
                "address = \"0.0.0.0:443\" in its [[listen]], or the address that `ip address` shows",
            ]
        );
        with("0.0.0.0:8443", "0.0.0.0:8080");
        let report = machine.look("ports").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["ports/not-the-cas"]), "{report:#?}");
        assert_eq!(
            report.finding("ports/not-the-cas"),
            [
                "0.0.0.0:8443, 0.0.0.0:8080",
                "no listener is on port 80 or 443",
                "a CA connects to these two only, so something in front has to send one of them here",
                "send port 80 to the listener with serve = \"redirect\" and 443 to the one with \"https\"; or use dns-01 \
                 ([acme.dns])",
            ]
        );
        with("0.0.0.0:443", "0.0.0.0:80");
        assert_eq!(machine.look("dns,ports").await.snags(), [""; 0]);

        machine.zone(&["chat.example.com A 192.168.1.5"]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/not-public"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/not-public"),
            [
                HOST,
                "chat.example.com points to 192.168.1.5, which is no public address",
                "the internet cannot reach it, and a public CA does not try",
                "at the domain's DNS provider: `chat.example.com. A 203.0.114.7` and `chat.example.com. A 203.0.114.53`",
            ]
        );
    });
}

#[tokio::test]
async fn one_open_port_of_two_is_told_from_outside() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_at(ca.http, ports::free()).run().await;
    let options = Certified::options(&ca, HOST).trusting(&staging);
    let proxy = options.acme(&format!("staging = {:?}", staging.directory())).stopped();
    let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
    assert_eq!((report.code, report.snags()), (Some(0), vec!["identity/unfenced", "acme/half-reached"]), "{report:#?}");
    assert_eq!(
        report.finding("acme/half-reached"),
        [
            HOST,
            &format!(
                "chat.example.com: the CA's staging reached port 80 (http-01), and not port 443 (tls-alpn-01): Failed to \
                 connect to 127.0.0.1:{} for the tls-alpn-01 challenge",
                staging.tls
            ),
            "one is enough for a certificate; but clients come to port 443, and those without https to port 80",
            // This CA says "unauthorized" of a port that is closed; Let's Encrypt says "connection".
            "something else answers at port 443 of chat.example.com: see where the name points, also its AAAA record, and \
             what stands before this machine",
        ]
    );
    assert!(!report.codes().contains(&"acme/reached"), "{report:#?}");
}
