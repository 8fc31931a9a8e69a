//! The gateway and the service of `forward_auth` that they are shown to.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

/// A gateway that knows nobody: pages, and WebSockets that are refused after their connect.
pub(super) fn gateway() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || visit(stream));
        }
    });
    address
}

pub(super) fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn visit(mut stream: TcpStream) {
    while let Some(head) = head(&mut stream) {
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
        });
        if head.starts_with("GET /auth") {
            // The service of forward_auth, which is shown what the client shows and says who it is.
            assert!(head.contains(PLANTED[14]) && head.contains(PLANTED[5]) && head.contains(PLANTED[6]), "{head}");
            let refuses = head.contains("x-forwarded-uri: /asked/no");
            let status = if refuses { "401 No" } else { "200 OK" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nset-cookie: auth={}\r\nremote-token: {}\r\n\r\n",
                PLANTED[15], PLANTED[16]
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        if head.starts_with("GET /asked") {
            assert!(head.contains(PLANTED[16]), "{head}");
        }
        let Some(key) = key else {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: session={}; HttpOnly\r\n\r\nok",
                PLANTED[10]
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        };
        let accept = derive_accept_key(key.as_bytes());
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
        let refusal = r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch","details":{"code":"AUTH_TOKEN_MISMATCH"}}}"#;
        let _ = stream.write_all(switch.as_bytes());
        let _ = stream.write_all(&text(challenge, false));
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&text(refusal, false));
        return;
    }
}

/// A text frame (RFC 6455 §5.2); a client's is masked, with zeros.
pub(super) fn text(payload: &str, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => frame.push(mask | short),
        _ => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(if masked { &[0; 4] } else { &[] });
    frame.extend_from_slice(payload.as_bytes());
    frame
}
