//! A name server for tests: answers from a list of records, on loopback, over UDP and TCP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CAA, CNAME, NS, SOA},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::AbortHandle,
};

/// Ends with its last handle.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
    tasks: Vec<AbortHandle>,
}

#[derive(Default)]
struct State {
    records: Mutex<Vec<Record>>,
    /// Names that get this code instead of an answer.
    codes: Mutex<Vec<(Name, ResponseCode)>>,
    /// Answers over UDP that are longer than this are cut off.
    longest: AtomicUsize,
    /// Answers come from somebody else's zone, as a resolver remembers them.
    remembers: AtomicBool,
    /// Questions over UDP that are still to be left without an answer.
    deaf: AtomicUsize,
    /// The bits RD and the transport of every question: `udp+rd a.test. A`.
    asked: Mutex<Vec<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

pub fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

impl Server {
    /// With records as in a zone file: `a.test A 192.0.2.1`.
    pub async fn run(records: &[&str]) -> Server {
        Server::at(Ipv4Addr::LOCALHOST, 0, records).await
    }

    pub async fn at(ip: Ipv4Addr, port: u16, records: &[&str]) -> Server {
        // One number for both transports: the kernel finds one for UDP, TCP may have it already.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((ip, port)).await.unwrap();
            match TcpListener::bind(udp.local_addr().unwrap()).await {
                Ok(tcp) => break (udp, tcp),
                Err(error) => assert!(port == 0, "{error}"),
            }
        };
        let state = Arc::new(State { longest: 1232.into(), ..State::default() });
        let address = udp.local_addr().unwrap();
        let tasks = vec![
            tokio::spawn(serve_udp(udp, state.clone())).abort_handle(),
            tokio::spawn(serve_tcp(tcp, state.clone())).abort_handle(),
        ];
        let server = Server { address, state, tasks };
        server.set(records);
        server
    }

    /// Replaces all records.
    pub fn set(&self, records: &[&str]) {
        *self.state.records.lock().unwrap() = records.iter().map(|line| record(line)).collect();
    }

    pub fn fail(&self, owner: &str, code: ResponseCode) {
        self.state.codes.lock().unwrap().push((name(owner), code));
    }

    pub fn cut_off_at(&self, longest: usize) {
        self.state.longest.store(longest, Ordering::SeqCst);
    }

    /// Whether it says that it serves the zone (AA).
    pub fn has_authority(&self, has: bool) {
        self.state.remembers.store(!has, Ordering::SeqCst);
    }

    /// The next questions over UDP get no answer.
    pub fn lose(&self, questions: usize) {
        self.state.deaf.store(questions, Ordering::SeqCst);
    }

    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

fn record(line: &str) -> Record {
    let mut words = line.splitn(3, ' ');
    let (owner, kind, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
    let data = match kind {
        "A" => RData::A(A(rest.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(rest.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name(rest))),
        "NS" => RData::NS(NS(name(rest))),
        "SOA" => RData::SOA(SOA::new(name(rest), name("admin.test"), 1, 60, 60, 60, 60)),
        "CAA" => {
            let (tag, value) = rest.split_once(' ').unwrap();
            let mut caa = CAA::new_issue(false, None, Vec::new());
            caa.tag = tag.trim_start_matches('!').to_owned();
            caa.issuer_critical = tag.starts_with('!');
            caa.value = value.as_bytes().to_vec();
            RData::CAA(caa)
        }
        other => panic!("no {other} here"),
    };
    Record::from_rdata(name(owner), 60, data)
}

impl State {
    fn answer(&self, question: &[u8], transport: &str) -> Option<Message> {
        let question = Message::from_vec(question).ok()?;
        let query = question.queries.first()?.clone();
        let recursion = if question.metadata.recursion_desired { "+rd" } else { "" };
        let asked = format!("{transport}{recursion} {} {}", query.name(), query.query_type());
        self.asked.lock().unwrap().push(asked);
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.authoritative = !self.remembers.load(Ordering::SeqCst);
        answer.add_query(query.clone());
        let records = self.records.lock().unwrap();
        let mut owner = query.name().clone();
        for _ in 0..20 {
            let own = |r: &&Record, kind| r.name == owner && r.record_type() == kind;
            let alias = records.iter().find(|r| own(r, RecordType::CNAME));
            answer.add_answers(records.iter().filter(|r| own(r, query.query_type())).cloned());
            let Some(alias) = alias.filter(|_| answer.answers.iter().all(|r| r.record_type() == RecordType::CNAME))
            else {
                break;
            };
            answer.add_answer(alias.clone());
            let RData::CNAME(target) = &alias.data else { unreachable!() };
            owner = target.0.clone();
        }
        let found = answer.answers.iter().any(|r| r.record_type() == query.query_type());
        if !found {
            let exists = records.iter().any(|r| owner.zone_of(&r.name));
            answer.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            let soa = records.iter().filter(|r| r.record_type() == RecordType::SOA && r.name.zone_of(&owner));
            answer.add_authorities(soa.max_by_key(|r| r.name.num_labels()).cloned());
        }
        if let Some((_, code)) = self.codes.lock().unwrap().iter().find(|(name, _)| name == query.name()) {
            answer.metadata.response_code = *code;
        }
        Some(answer)
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(answer) = state.answer(&buffer[..length], "udp") else { continue };
        let lost = |left: usize| left.checked_sub(1);
        if state.deaf.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lost).is_ok() {
            continue;
        }
        let mut bytes = answer.to_vec().unwrap();
        if bytes.len() > state.longest.load(Ordering::SeqCst) {
            bytes = answer.truncate().to_vec().unwrap();
        }
        let _ = socket.send_to(&bytes, from).await;
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; length.into()];
            if stream.read_exact(&mut question).await.is_err() {
                break;
            }
            let Some(answer) = state.answer(&question, "tcp") else { break };
            let bytes = answer.to_vec().unwrap();
            let length = u16::try_from(bytes.len()).unwrap();
            let _ = stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await;
        }
    }
}
