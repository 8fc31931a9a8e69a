//! What the gateway says, and the rules by which clawgate speaks to it.

use super::Page;
use crate::{
    gateway::translate::{Situation, Trouble},
    headers::identity::Rule,
};

pub(super) fn pages() -> impl Iterator<Item = Page> {
    let at = Situation { host: "HOST", attributed: None };
    let troubles = Trouble::ALL.into_iter().map(move |trouble| Page {
        code: trouble.code().to_owned(),
        kind: "answer of the gateway".to_owned(),
        what: sentence(trouble.what()),
        way_out: sentence(&trouble.cure(&at, None)),
    });
    let rules = Rule::ALL.into_iter().map(|rule| Page {
        code: rule.name().to_owned(),
        kind: "rule that chooses an identity".to_owned(),
        what: means(rule).to_owned(),
        way_out: way_out(rule).to_owned(),
    });
    troubles.chain(rules)
}

fn means(rule: Rule) -> &'static str {
    match rule {
        Rule::NotABrowser => {
            "The request is not a browser's (neither Origin nor Sec-Fetch-Site) and no `clients` fence is set, so the \
             gateway sees a local client: it approves the device key at once."
        }
        Rule::InsideFence => {
            "The client address is inside `clients`, and the request is not a browser's, so the gateway sees a local \
             client."
        }
        Rule::PinnedKey => {
            "The site has device keys. The gateway sees a local client once the WebSocket's first message is signed by one of \
             them; without that the WebSocket is closed with 1008."
        }
        Rule::NoKeyShown => {
            "The site has device keys, and only a WebSocket can show one: any other request is told with its address."
        }
        Rule::ConfiguredLoopback => {
            "The site or route says identity = \"loopback\" without a fence: whoever asks, the gateway sees a local \
             client."
        }
        Rule::ConfiguredAttributed => {
            "The site or route says identity = \"attributed\": the gateway is told the client's address."
        }
        Rule::GenericUpstream => {
            "The upstream is no OpenClaw gateway (kind = \"generic\"): it is told the client's address."
        }
        Rule::Browser => {
            "The request carries Origin or Sec-Fetch-Site, as only a browser's do: the gateway is told its address, and \
             a person pairs it once."
        }
        Rule::GatewayWithoutAuth => {
            "The gateway's own authentication is off, so the identity loopback would be an open shell and is given to \
             nobody."
        }
        Rule::EndpointNotLoopback => {
            "The gateway is not at an IPv4 loopback address, so it cannot take anyone for a local client."
        }
        Rule::AddressDisputed => {
            "A trusted proxy sent X-Forwarded-For and Forwarded, and they name different clients: the address is not \
             good enough for a fence."
        }
        Rule::OutsideFence => "The client address is in none of `clients`: the gateway is told the address.",
        Rule::Demoted => {
            "The gateway refused five connects from this address within ten minutes, so for a while it is told the \
             address."
        }
    }
}

fn way_out(rule: Rule) -> &'static str {
    match rule {
        Rule::NotABrowser => "To fence it, name your backend's addresses in the [[site]]: clients = [\"ADDRESS/32\"]",
        Rule::ConfiguredLoopback => "To fence it, add to the same table: clients = [\"ADDRESS/32\"]",
        Rule::OutsideFence => "If it is your backend, add its address to the site's clients and run: clawgate reload",
        Rule::GatewayWithoutAuth => {
            "Switch the gateway's authentication on: openclaw config set gateway.auth.mode token"
        }
        Rule::AddressDisputed => "Let the proxy in front of clawgate send only one of the two fields.",
        Rule::Demoted => {
            "Look at why the gateway refused it (clawgate explain gateway/credential-wrong); it ends by itself."
        }
        Rule::InsideFence
        | Rule::PinnedKey
        | Rule::NoKeyShown
        | Rule::ConfiguredAttributed
        | Rule::GenericUpstream
        | Rule::Browser
        | Rule::EndpointNotLoopback => "",
    }
}

/// A line of a log as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    // A command stays as it is to be pasted.
    let stop = if text.ends_with(['.', '\'', '>']) || text.ends_with("true") { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}
