//! A WebSocket client that may break the rules, which no library's does.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to `/graphql/ws`.
pub struct Socket(TcpStream);

/// A message or the end of the connection.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(Value),
    /// The socket is closed, with this code, or without one.
    Closed(Option<u16>),
}

impl Socket {
    /// Opens a WebSocket. The inner error is the HTTP status if the gateway does not upgrade the
    /// connection.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub async fn connect(gateway: &str) -> anyhow::Result<Result<Self, u16>> {
        let host = gateway.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).await?;
        let head = format!(
            "GET /graphql/ws HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: graphql-transport-ws\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(PATIENCE, stream.read_u8()).await??);
        }
        let answer = String::from_utf8(answer)?;
        let status = answer.split(' ').nth(1).context("no status")?.parse()?;
        Ok(if status == 101 {
            Ok(Self(stream))
        } else {
            Err(status)
        })
    }

    /// The same, with a token shown.
    ///
    /// # Errors
    /// The gateway does not take it.
    pub async fn known(gateway: &str, token: &str, space: &str) -> anyhow::Result<Self> {
        let socket = Self::connect(gateway).await?;
        let mut socket = socket.map_err(|status| anyhow::anyhow!("refused: {status}"))?;
        let payload = serde_json::json!({
            "authorization": format!("Bearer {token}"), "SPACE_GUID": space,
        });
        let init = serde_json::json!({ "type": "connection_init", "payload": payload });
        socket.send(&init).await?;
        match socket.next().await? {
            Received::Message(message) if message["type"] == "connection_ack" => Ok(socket),
            said => bail!("not acknowledged: {said:?}"),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let text = message.to_string();
        self.announce(text.len()).await?;
        self.write(text.as_bytes()).await
    }

    /// Begins a message of so many bytes.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn announce(&mut self, length: usize) -> anyhow::Result<()> {
        let length = u64::try_from(length)?.to_be_bytes();
        // The last four bytes are a mask that changes nothing.
        let head = [&[0x80 | TEXT, 0xff], length.as_slice(), &[0; 4]].concat();
        self.write(&head).await
    }

    /// Writes a part of a message.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(timeout(PATIENCE, self.0.write_all(bytes)).await??)
    }

    /// The next message.
    ///
    /// # Errors
    /// Nothing comes, or no JSON.
    pub async fn next(&mut self) -> anyhow::Result<Received> {
        loop {
            let Some((kind, payload)) = self.frame().await? else {
                return Ok(Received::Closed(None));
            };
            match kind {
                TEXT => return Ok(Received::Message(serde_json::from_slice(&payload)?)),
                CLOSE => {
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    return Ok(Received::Closed(code));
                }
                _ => {}
            }
        }
    }

    /// Executes a document, and returns what is said of it first.
    ///
    /// # Errors
    /// As [`Socket::next`]; or the socket is closed.
    pub async fn execute(&mut self, id: &str, document: &str) -> anyhow::Result<Value> {
        let payload = serde_json::json!({ "query": document });
        let subscribe = serde_json::json!({ "type": "subscribe", "id": id, "payload": payload });
        self.send(&subscribe).await?;
        loop {
            match self.next().await? {
                Received::Message(mut message) if message["id"] == id => {
                    return Ok(message["payload"].take());
                }
                Received::Message(_) => {}
                Received::Closed(code) => bail!("closed: {code:?}"),
            }
        }
    }

    /// A frame of the gateway; none at the connection's end.
    async fn frame(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let mut head = [0; 2];
        if timeout(PATIENCE, self.0.read_exact(&mut head))
            .await?
            .is_err()
        {
            return Ok(None);
        }
        ensure!(head[1] & 0x80 == 0, "a server does not mask");
        let length = match head[1] {
            126 => u64::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await?,
            length => length.into(),
        };
        let mut payload = vec![0; usize::try_from(length)?];
        timeout(PATIENCE, self.0.read_exact(&mut payload)).await??;
        Ok(Some((head[0] & 0x0f, payload)))
    }
}
