//! What the gateway says, and the rules by which clawgate speaks to it.

use super::Page;
use crate::{
    gateway::translate::{Situation, Trouble, token_command},
    headers::identity::Rule,
};

pub(super) fn pages() -> impl Iterator<Item = Page> {
    let at = Situation { host: "HOST", attributed: None };
    let troubles = Trouble::ALL.into_iter().map(move |trouble| Page {
        code: trouble.code().to_owned(),
        kind: "answer of the gateway".to_owned(),
        what: sentence(trouble.what()),
        why: trouble_matters(trouble).to_owned(),
        way_out: sentence(&trouble.cure(&at, None)) + also(trouble),
    });
    let rules = Rule::ALL.into_iter().map(|rule| Page {
        code: rule.name().to_owned(),
        kind: "rule that chooses an identity".to_owned(),
        what: means(rule).to_owned(),
        why: rule_matters(rule).to_owned(),
        way_out: way_out(rule).to_owned(),
    });
    troubles.chain(rules)
}

/// What only a page has room for.
fn also(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::PairingRequired => {
            " For a backend, which should be approved by itself: `clawgate explain --from ADDRESS --host HOST --websocket /` says \
             by which rule it was not; where it is outside_clients, add its address to the site's clients and run \
             `clawgate reload`."
        }
        _ => "",
    }
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
        Rule::OutsideFence => "If it is your backend, add its address to the site's clients and run: `clawgate reload`",
        Rule::GatewayWithoutAuth => {
            concat!("Give the gateway a token, and to your clients the same: `", token_command!(), "`")
        }
        Rule::AddressDisputed => "Let the proxy in front of clawgate send only one of the two fields.",
        Rule::Demoted => {
            "Look at why the gateway refused it (`clawgate explain gateway/credential-wrong`); it ends by itself."
        }
        Rule::InsideFence => {
            "Nothing is to be done. To take it away, take the address out of the site's clients and run: `clawgate reload`"
        }
        Rule::PinnedKey => {
            "A key that is to come in has to be in device_keys; `clawgate pin` prints the line for each that was seen."
        }
        Rule::NoKeyShown => {
            "Nothing, where only a WebSocket matters. Paths that a backend asks over HTTP can have a route of their own: [[site.route]] with identity = \"loopback\" and clients."
        }
        Rule::ConfiguredAttributed => {
            "If it is not meant so, take the line out or write identity = \"auto\", then: `clawgate reload`"
        }
        Rule::GenericUpstream => {
            "If it is an OpenClaw gateway after all, take kind = \"generic\" out, then: `clawgate reload`"
        }
        Rule::Browser => {
            "A person approves it once: `openclaw devices list`, then `openclaw devices approve REQUEST-ID`"
        }
        Rule::EndpointNotLoopback => {
            "Run clawgate on the gateway's machine, with upstream = \"127.0.0.1:18789\"; or approve each device: `openclaw devices approve REQUEST-ID`"
        }
    }
}

fn rule_matters(rule: Rule) -> &'static str {
    match rule {
        Rule::NotABrowser | Rule::ConfiguredLoopback => {
            "Whoever has the gateway's token becomes its operator, from any address and without a person."
        }
        Rule::InsideFence | Rule::PinnedKey => {
            "Your backend works at once and after every update of the gateway, and nobody else gets that right."
        }
        Rule::NoKeyShown | Rule::ConfiguredAttributed | Rule::GenericUpstream => {
            "It gets no rights of a local client; the gateway's log and lock-outs know its address."
        }
        Rule::Browser => "A page that somebody was lured to must not become an operator by itself.",
        Rule::GatewayWithoutAuth => {
            "Without a token and as a local client, anybody could run commands on the gateway's machine."
        }
        Rule::EndpointNotLoopback => "Every device has to be approved by hand once, your backend's too.",
        Rule::AddressDisputed => "Two answers to who asks are none: one of them may be the client's own invention.",
        Rule::OutsideFence => "It is not approved by itself: a device that is new waits for a person.",
        Rule::Demoted => {
            "Who tries tokens gets no further tries as a local client, which the gateway would never lock out."
        }
    }
}

fn trouble_matters(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::ProxyAttributionRequired => {
            "Since 2026.8.1 the gateway answers 403 to every browser until it knows this proxy."
        }
        Trouble::PairingRequired => {
            "The token alone is not enough for a device that is new, or that the gateway has forgotten."
        }
        Trouble::OriginNotAllowed => "The page loads and cannot connect, for everybody who opens it at this name.",
        Trouble::PageOutdated => {
            "Page and gateway belong together; after an update a tab that was open has the old page."
        }
        Trouble::DeviceRequired => "The gateway knows who may do what by the device's key.",
        Trouble::MissingScope => {
            "It is connected and cannot do what it is there for: the gateway grants scopes to keys, not to tokens."
        }
        Trouble::CredentialMissing => "Nobody gets in without it, and a client that goes on trying is locked out.",
        Trouble::CredentialWrong => {
            "After some tries the client is locked out, here (limits.auth_failures) and at the gateway."
        }
        Trouble::RateLimited => "The right token does not help until the time is over.",
        Trouble::ClockSkew => "A signature is good for two minutes, so that nobody can use it again later.",
        Trouble::SignatureInvalid => "Either the client is broken, or somebody uses a key that is not theirs.",
        Trouble::ProtocolMismatch => {
            "They would not understand each other's messages, so the gateway ends the connection."
        }
        Trouble::PreAuthPlaces => "Nobody gets a new WebSocket meanwhile; those that are open go on.",
        Trouble::Restarting => "Clients come back by themselves; clawgate holds new ones until the gateway is there.",
        Trouble::PolicyChanged => "All who came under the old rules are sent away once, on purpose.",
        Trouble::SlowConsumer => "The gateway keeps what a client has not read in its memory, and that has an end.",
        Trouble::TooLarge => "The connection ends, because what follows such a message cannot be trusted.",
        Trouble::UiConnectFailed => "It is the consequence and not the cause, and seldom the proxy's fault.",
        Trouble::RefusedOtherwise => "A newer gateway may have reasons that this clawgate has no words for.",
    }
}

/// A line of a log as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}
