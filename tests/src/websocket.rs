//! A WebSocket client that speaks `graphql-transport-ws`, or sends any frames.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    api::{SECRET, SPACE},
    raw_http::address,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
/// A longer length is in the two, or the eight, bytes that follow.
const IN_TWO_BYTES: u8 = 126;
const IN_EIGHT_BYTES: u8 = 127;
const PATIENCE: Duration = Duration::from_secs(20);

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
}

/// A message or the end of the connection.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A message.
    Message(Value),
    /// The server closed the connection, with this code if it sent one.
    Closed(Option<u16>),
}

impl Socket {
    /// Connects to `/graphql/ws`, without a token.
    ///
    /// # Errors
    /// The gateway does not upgrade the connection.
    pub async fn open(gateway_url: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address(gateway_url)).await?;
        let head = "GET /graphql/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(PATIENCE, stream.read_u8()).await??);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Ok(Self { stream })
    }

    /// Connects, and sends a subject's token for the samples' Space.
    ///
    /// # Errors
    /// As [`Socket::open`]; or the token is not taken.
    pub async fn introduced(gateway_url: &str, subject: &str) -> anyhow::Result<Self> {
        let mut socket = Self::open(gateway_url).await?;
        let token = gateway::auth::dev_token::sign(SECRET, SPACE, subject, Duration::from_mins(5))?;
        let init = json!({ "authorization": format!("Bearer {token}"), "space_guid": SPACE });
        socket
            .say(&json!({ "type": "connection_init", "payload": init }))
            .await?;
        let answer = socket.hear().await?;
        let expected = Received::Message(json!({ "type": "connection_ack" }));
        ensure!(answer == expected, "{answer:?}");
        Ok(socket)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn say(&mut self, message: &Value) -> anyhow::Result<()> {
        let text = message.to_string();
        let mut frame = text_head(text.len() as u64);
        frame.extend_from_slice(text.as_bytes());
        self.send(&frame).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next message. A connection that breaks counts as closed without a code.
    ///
    /// # Errors
    /// No message arrives, or it is not JSON.
    pub async fn hear(&mut self) -> anyhow::Result<Received> {
        loop {
            let frame = timeout(PATIENCE, self.frame()).await;
            let Ok((kind, payload)) = frame.context("nothing is said")? else {
                return Ok(Received::Closed(None));
            };
            match kind {
                PING => {}
                CLOSE => {
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    return Ok(Received::Closed(code));
                }
                _ => return Ok(Received::Message(serde_json::from_slice(&payload)?)),
            }
        }
    }

    async fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await? & 0x0f;
        let length = match self.stream.read_u8().await? {
            IN_TWO_BYTES => self.stream.read_u16().await?.into(),
            IN_EIGHT_BYTES => self.stream.read_u64().await?,
            length => length.into(),
        };
        let mut payload = Vec::new();
        (&mut self.stream)
            .take(length)
            .read_to_end(&mut payload)
            .await?;
        Ok((kind, payload))
    }
}

/// The header of a text frame of this length. Its mask is zero, so the payload is sent unchanged.
#[must_use]
pub fn text_head(length: u64) -> Vec<u8> {
    let mut head = vec![LAST | TEXT];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < IN_TWO_BYTES => head.push(MASKED | short),
        (_, Ok(length)) => {
            head.push(MASKED | IN_TWO_BYTES);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(MASKED | IN_EIGHT_BYTES);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}
