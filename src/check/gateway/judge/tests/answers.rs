//! Nobody answers, here and on another machine.

use super::*;

#[test]
fn nobody_there_and_a_file_that_says_another_port() {
    let machine = Machine::new();
    machine.file(FILE, &GUIDE.replace("18789", "18790"));
    machine.file("/root/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=x\n");
    let said = wrong(&machine, away());
    let expected = [
        "error[gateway/away]: cannot connect: connection refused\n  --> 127.0.0.1:18789\n   = why: requests wait for it as \
         long as `hold` says, then get 503\n   = cure: start it as its user: `systemctl --user start openclaw-gateway` \
         (where there is no such unit yet: `openclaw onboard --install-daemon`)\n",
        "warning[gateway/port-differs]: gateway.port is 18790, and we forward to 127.0.0.1:18789\n  --> \
         /root/.openclaw/openclaw.json\n   = why: a gateway that is started with this file is not found\n   = cure: \
         upstream = \"127.0.0.1:18790\" in the [[site]]\n",
    ];
    assert_eq!(said, expected);
    // One that answers, and nobody knows whose file this is.
    let said = wrong(&machine, live());
    assert!(
        said[0].starts_with("unknown[gateway/config-unknown]: its port is 18790, and a gateway answers at"),
        "{said:?}"
    );
}

/// Neither its process nor its firewall is ours, so the way out is on its own machine.
#[test]
fn nobody_at_a_gateway_of_another_machine_is_mended_there() {
    let config = configured("upstream = \"192.0.2.7:18789\"");
    let said: Vec<String> = judged(&config, None, away(), Vec::new()).iter().map(ToString::to_string).collect();
    let expected = [
        "error[gateway/away]: cannot connect: connection refused\n  --> 192.0.2.7:18789\n   = why: requests wait for it as \
         long as `hold` says, then get 503\n   = cure: on the gateway's own machine: `openclaw gateway status`, and whether \
         it listens on more than loopback and its firewall lets this machine in; or mend upstream in the [[site]]\n",
        "unknown[gateway/elsewhere]: the gateway is on another machine\n  --> 192.0.2.7:18789\n   = why: its files and its \
         process are looked at on its own machine only\n   = cure: run `openclaw doctor` there\n",
    ];
    assert_eq!(said[..2], expected);
}
