//! What operators ask: typed calls, one request each, to the address the caller names.
//!
//! Nothing is retried but the choice of the nameserver: an operator wants to know what failed.

mod broker;
mod controller;
mod namesrv;
mod planned;

pub use controller::Elected;

use node::remoting::{CallError, Client, ClientOptions};
use node::tls::ClientTls;
use proto::Command;
use proto::code::response;
use proto::header::{Header, HeaderError};
use serde::de::DeserializeOwned;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// `host:port` of each nameserver; may stay empty for calls that name their address.
    pub namesrv: Vec<String>,
    /// For one request.
    pub timeout: Duration,
    /// Access key and secret.
    pub credentials: Option<(String, String)>,
    /// `None`: plain text.
    pub tls: Option<ClientTls>,
}

impl Default for AdminOptions {
    fn default() -> Self {
        AdminOptions { namesrv: Vec::new(), timeout: Duration::from_secs(5), credentials: None, tls: None }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no nameserver is configured: give its address, host:port, with -n, --namesrv or NAMESRV_ADDR")]
    NoNameserver,
    #[error(transparent)]
    Call(#[from] CallError),
    /// Answered, but not with success.
    #[error("{address}: request {request}: code {code}: {remark}")]
    Refused { address: String, request: i32, code: i32, remark: String },
    #[error("{address}: request {request}: the answer cannot be read: {why}")]
    Unreadable { address: String, request: i32, why: String },
    #[error("no controller at {addresses} knows a leader; check that a majority of them runs")]
    NoLeader { addresses: String },
}

impl AdminError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<i32> {
        match self {
            AdminError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, AdminError>;

/// Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Admin {
    options: AdminOptions,
    client: Client,
}

impl Admin {
    /// Needs a tokio runtime.
    pub fn new(options: AdminOptions) -> Admin {
        let client = Client::new(ClientOptions {
            credentials: options.credentials.clone(),
            tls: options.tls.clone(),
            ..ClientOptions::default()
        });
        Admin { options, client }
    }

    pub fn namesrv(&self) -> &[String] {
        &self.options.namesrv
    }

    /// Any request to any address; the answer as it came, whatever its code.
    pub async fn call(&self, address: &str, request: Command) -> Result<Command> {
        Ok(self.client.call(address, request, self.options.timeout).await?)
    }

    /// As [`Admin::call`], but anything other than success is an error.
    pub async fn succeed(&self, address: &str, request: Command) -> Result<Command> {
        let code = request.code;
        let answer = self.call(address, request).await?;
        if answer.code == response::SUCCESS {
            return Ok(answer);
        }
        let remark = answer.remark.unwrap_or_default();
        Err(AdminError::Refused { address: address.to_owned(), request: code, code: answer.code, remark })
    }

    /// Asks the nameservers in turn until one answers; returns which one did.
    pub async fn ask_namesrv(&self, request: Command) -> Result<(Command, &str)> {
        let mut last = AdminError::NoNameserver;
        for address in &self.options.namesrv {
            match self.call(address, request.clone()).await {
                Ok(answer) => return Ok((answer, address)),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn namesrv_body<T: DeserializeOwned>(&self, request: Command) -> Result<T> {
        let code = request.code;
        let (answer, address) = self.ask_namesrv(request).await?;
        if answer.code != response::SUCCESS {
            let remark = answer.remark.unwrap_or_default();
            return Err(AdminError::Refused { address: address.to_owned(), request: code, code: answer.code, remark });
        }
        parse(&answer, address, code)
    }

    async fn body<T: DeserializeOwned>(&self, address: &str, request: Command) -> Result<T> {
        let code = request.code;
        parse(&self.succeed(address, request).await?, address, code)
    }

    async fn header<H: Header>(&self, address: &str, request: Command) -> Result<H> {
        let code = request.code;
        let answer = self.succeed(address, request).await?;
        answer.header().map_err(|e| bad_header(e, address, code))
    }
}

fn parse<T: DeserializeOwned>(answer: &Command, address: &str, request: i32) -> Result<T> {
    proto::json::from_slice(&answer.body).map_err(|e| AdminError::Unreadable {
        address: address.to_owned(),
        request,
        why: e.to_string(),
    })
}

fn bad_header(e: HeaderError, address: &str, request: i32) -> AdminError {
    AdminError::Unreadable { address: address.to_owned(), request, why: e.to_string() }
}

#[cfg(test)]
mod tests;
