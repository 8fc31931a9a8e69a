use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, TcpStream},
};

use super::*;
use crate::config::model::ListenerKind;

fn listener(address: &str) -> Listener {
    Listener { address: address.parse().unwrap(), kind: ListenerKind::Https, proxy_protocol_from: Vec::new() }
}

fn bind_all(addresses: &[&str], cores: usize) -> Result<Vec<Bound>, BindError> {
    let listeners: Vec<Listener> = addresses.iter().map(|a| listener(a)).collect();
    bind(&listeners, cores, Vec::new())
}

/// Which cores' sockets have a connection waiting.
fn accept_waiting(bound: &Bound, cores: usize) -> Vec<usize> {
    let mut counts = vec![0; cores];
    for (core, count) in counts.iter_mut().enumerate() {
        let socket = bound.socket(core).unwrap();
        while let Ok((accepted, _)) = socket.accept() {
            drop(accepted);
            *count += 1;
        }
    }
    counts
}

#[test]
fn a_port_is_taken_while_somebody_listens_where_it_would_clash() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = somebody.local_addr().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    assert!(is_taken(address) && is_taken(everywhere));
    drop(somebody);
    assert!(!is_taken(address) && !is_taken(everywhere));
    // It was given up.
    TcpListener::bind(address).unwrap();
}

#[test]
fn port_0_gives_every_core_a_socket_on_the_same_port() {
    let bound = bind_all(&["127.0.0.1:0"], 4).unwrap();
    assert_ne!(bound[0].address.port(), 0);
    let ports: HashSet<u16> = (0..4).map(|core| bound[0].socket(core).unwrap().local_addr().unwrap().port()).collect();
    assert_eq!(ports, HashSet::from([bound[0].address.port()]));

    let clients: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(bound[0].address).unwrap()).collect();
    let counts = accept_waiting(&bound[0], 4);
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.iter().all(|count| *count > 0), "the kernel spreads them: {counts:?}");
}

#[test]
fn a_port_that_somebody_listens_on_is_refused_by_name_even_where_it_could_be_shared() {
    let ours = bind_all(&["127.0.0.1:0"], 2).unwrap();
    let address = ours[0].address;
    let error = bind_all(&[&address.to_string()], 2).unwrap_err();
    assert!(matches!(&error, BindError::InUse { holder: Some(holder), .. } if holder.pid == std::process::id()));
    assert!(error.to_string().contains("another listener of this configuration"), "{error}");

    // The same for sockets that came first and would have let us in.
    let open = new_socket("127.0.0.1:0".parse().unwrap()).unwrap();
    open.set_reuse_port(true).unwrap();
    open.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    open.listen(1).unwrap();
    let address = TcpListener::from(open.try_clone().unwrap()).local_addr().unwrap();
    assert!(matches!(bind_all(&[&address.to_string()], 2), Err(BindError::InUse { .. })));
}

#[test]
fn the_error_says_how_to_free_the_port() {
    let error = |holder| {
        let source = ErrorKind::AddrInUse.into();
        BindError::InUse { address: "0.0.0.0:443".parse().unwrap(), holder, source }.to_string()
    };
    let caddy = Holder { name: "caddy".into(), pid: 1, unit: Some("caddy.service".into()), service_of: None };
    assert_eq!(
        error(Some(caddy)),
        "cannot listen on 0.0.0.0:443: the port is taken by caddy (pid 1, caddy.service); \
         `systemctl disable --now caddy` frees it"
    );
    assert_eq!(
        error(None),
        "cannot listen on 0.0.0.0:443: the port is taken; `sudo ss -ltnp 'sport = :443'` shows by whom"
    );
}

#[test]
fn both_families_have_the_same_port_side_by_side() {
    let v4 = bind_all(&["0.0.0.0:0"], 2).unwrap();
    let port = v4[0].address.port();
    let v6 = bind_all(&[&format!("[::]:{port}")], 2).unwrap();
    let _to_v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let _to_v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    assert_eq!(accept_waiting(&v4[0], 2).iter().sum::<usize>(), 1);
    assert_eq!(accept_waiting(&v6[0], 2).iter().sum::<usize>(), 1);
}

#[test]
fn an_accepted_connection_has_the_listeners_settings_without_further_calls() {
    let bound = bind_all(&["127.0.0.1:0"], 1).unwrap();
    let _client = TcpStream::connect(bound[0].address).unwrap();
    let (accepted, _) = bound[0].socket(0).unwrap().accept().unwrap();
    let socket = SockRef::from(&accepted);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    assert!(KEEPALIVE_IDLE + USER_TIMEOUT <= Duration::from_secs(120), "a vanished peer ends within 2 min");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let error = bind_all(&["192.0.2.77:0"], 1).unwrap_err();
    assert!(matches!(error, BindError::NoSuchAddress { .. }));
    assert!(error.to_string().starts_with("cannot listen on 192.0.2.77:0: no interface"), "{error}");
}

#[test]
fn a_machine_without_ipv6_is_no_reason_not_to_start() {
    let missing = |address: &str| {
        let source = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        BindError::NoSuchAddress { address: address.parse().unwrap(), source }
    };
    let listeners = [listener("[::]:443"), listener("127.0.0.1:0")];
    let one = |l: &Listener| match l.address {
        SocketAddr::V6(a) => Err(missing(&a.to_string())),
        SocketAddr::V4(_) => bind_one(l, 1, Port::Exclusive).map(Some),
    };
    assert_eq!(open(&listeners, one).unwrap().len(), 1);
    assert!(open(&listeners[..1], one).is_err(), "unless nothing else is left");
    assert!(open(&[listener("[2001:db8::1]:443"), listeners[1].clone()], one).is_err(), "nor a wrong address");
}

fn passed(address: SocketAddr, only_v6: bool) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(only_v6).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

#[test]
fn an_inherited_socket_serves_its_listener_on_all_cores() {
    let socket = passed("127.0.0.1:0".parse().unwrap(), false);
    let address = socket.local_addr().unwrap();
    let bound = bind(&[listener(&address.to_string())], 3, vec![socket]).unwrap();
    assert_eq!(bound[0].address, address);
    let _client = TcpStream::connect(address).unwrap();
    let (accepted, _) = bound[0].socket(2).unwrap().accept().unwrap();
    assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    assert_eq!(bound[0].socket(0).unwrap().accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_inherited_socket_that_no_listener_wants_is_named() {
    let socket = passed("127.0.0.1:0".parse().unwrap(), false);
    let address = socket.local_addr().unwrap();
    let error = bind(&[listener("127.0.0.1:0")], 1, vec![socket]).unwrap_err();
    assert!(matches!(error, BindError::Unexpected { address: a } if a == address));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_dual_stack_socket_from_systemd_stands_for_both_wildcards() {
    let socket = passed("[::]:0".parse().unwrap(), false);
    let port = socket.local_addr().unwrap().port();
    let mut listeners = [listener(&format!("0.0.0.0:{port}")), listener(&format!("[::]:{port}"))];
    let bound = bind(&listeners, 2, vec![socket.try_clone().unwrap()]).unwrap();
    assert_eq!(bound.len(), 1);
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(accept_waiting(&bound[0], 1), [1]);

    listeners[0].kind = ListenerKind::Redirect;
    assert!(matches!(bind(&listeners, 2, vec![socket]), Err(BindError::Covered { .. })));
}

#[test]
fn a_reload_keeps_what_stays_opens_what_is_new_and_closes_what_is_gone() {
    let old = bind_all(&["127.0.0.1:0", "127.0.0.2:0"], 2).unwrap();
    let (stays, goes) = (old[0].address, old[1].address);
    let mut kept = listener("127.0.0.1:0");
    kept.kind = ListenerKind::Http;
    let new = rebind(&old, &[listener("127.0.0.3:0"), kept.clone()], 2).unwrap();
    assert!(new[1].shares_sockets_with(&old[0]));
    assert_eq!((new[1].address, &new[1].listener), (stays, &kept));
    assert!(!new[0].shares_sockets_with(&old[0]));
    drop(old);
    TcpStream::connect(stays).unwrap();
    TcpStream::connect(new[0].address).unwrap();
    assert_eq!(TcpStream::connect(goes).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_failed_reload_leaves_everything_listening() {
    let old = bind_all(&["127.0.0.1:0"], 2).unwrap();
    rebind(&old, &[listener("127.0.0.2:0"), listener("192.0.2.77:0")], 2).unwrap_err();
    TcpStream::connect(old[0].address).unwrap();
}

#[test]
fn a_reload_may_narrow_a_wildcard_to_one_address_on_the_same_port() {
    let old = bind_all(&["0.0.0.0:0"], 2).unwrap();
    let narrow = SocketAddr::from((Ipv4Addr::LOCALHOST, old[0].address.port()));
    let new = rebind(&old, &[listener(&narrow.to_string())], 2).unwrap();
    drop(old);
    let _client = TcpStream::connect(narrow).unwrap();
    assert_eq!(accept_waiting(&new[0], 2).iter().sum::<usize>(), 1);
}

const CHILD: &str = "CLAWGATE_TEST_ACTIVATED";

/// The process that systemd would start: takes its socket over and greets one client on it.
#[test]
fn child_with_a_passed_socket() {
    use std::{io::Write, os::fd::AsRawFd};
    let Ok(address) = std::env::var(CHILD) else {
        return; // It is the other half of the test below.
    };
    let passed = inherited().unwrap();
    let flags = unsafe { libc::fcntl(passed[0].as_raw_fd(), libc::F_GETFD) };
    assert_ne!(flags & libc::FD_CLOEXEC, 0, "what we start must not have our ports");
    let bound = bind(&[listener(&address)], 2, passed).unwrap();
    let socket = bound[0].socket(1).unwrap();
    socket.set_nonblocking(false).unwrap();
    socket.accept().unwrap().0.write_all(b"from the child").unwrap();
    assert!(inherited().unwrap().is_empty(), "they are taken once");
}

#[test]
fn a_socket_unit_passes_its_socket_to_the_process_it_starts_and_to_no_other() {
    use std::{io::Read, os::fd::OwnedFd, process::Command};
    let activate = |listen_pid: &str| {
        let socket = passed("127.0.0.1:0".parse().unwrap(), false);
        let address = socket.local_addr().unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("exec 3<&0; LISTEN_PID={listen_pid} LISTEN_FDS=1 exec \"$@\""), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "listen::bind::tests::child_with_a_passed_socket"])
            .env(CHILD, address.to_string())
            .stdin(OwnedFd::from(socket))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        (child, address)
    };

    let (mut child, address) = activate("$$");
    let mut greeting = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "from the child");
    assert!(child.wait().unwrap().success());

    // Passed to another process: the descriptors are not ours, and `passed[0]` above does not exist.
    let (mut child, _) = activate("1");
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_port_behind_the_units_fence_names_the_line_that_opens_it() {
    let error = bind_error("0.0.0.0:8443".parse().unwrap(), io::Error::from_raw_os_error(libc::EPERM));
    assert_eq!(
        error.to_string(),
        "cannot listen on 0.0.0.0:8443: the service may not open port 8443; `systemctl edit clawgate`, add [Service] and \
         SocketBindAllow=tcp:8443, and restart clawgate"
    );
}
