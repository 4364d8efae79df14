//! A small HTTP client: one request, one answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::DEADLINE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(said: &[u8]) -> Self {
        let said = String::from_utf8_lossy(said);
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {said}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {said}"));
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// The value of a sample, which must be there: `keygate_keys` or `a_total{code="X"}`.
    pub(crate) fn sample(&self, name: &str) -> f64 {
        let line = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in:\n{}", self.body))
    }
}

/// A connection whose waits have a deadline.
pub(crate) trait Stream: Read + Write {}
impl Stream for UnixStream {}
impl Stream for TcpStream {}

pub(crate) fn unix(path: &Path) -> Box<dyn Stream> {
    let stream = UnixStream::connect(path).expect("the HTTP socket answers");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    Box::new(stream)
}

pub(crate) fn tcp(address: SocketAddr) -> Box<dyn Stream> {
    let stream = TcpStream::connect(address).expect("the HTTP address answers");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    Box::new(stream)
}

/// Everything that comes until the peer closes; a reset is an end too.
pub(crate) fn rest(stream: &mut dyn Stream) -> Vec<u8> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => said,
    }
}

/// Sends a request's bytes and hears the whole answer.
pub(crate) fn ask(mut stream: Box<dyn Stream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).expect("the request is taken");
    Answer::parse(&rest(&mut *stream))
}

/// `GET`, with what is accepted.
pub(crate) fn get(stream: Box<dyn Stream>, path: &str, accept: &str) -> Answer {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: keygate\r\naccept: {accept}\r\n\r\n"))
}
