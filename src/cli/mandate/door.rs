//! Who calls, and where: a person with the session that is kept, or an agent with its certificate.

use clap::Args;

use super::CommandError;
use crate::cli::dial::TlsFlags;
use crate::cli::session::SessionFile;
use crate::grpc::DelegationClient;

/// Who calls, and where
#[derive(Debug, Args)]
pub(super) struct DoorFlags {
    /// attache: `unix:/PATH` for a person [default: where the session was opened], HOST:PORT of its mesh listener for
    /// an agent
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    session: SessionFile,
}

impl DoorFlags {
    /// A client that calls as whoever the flags name.
    pub(super) async fn client(&self) -> Result<DelegationClient, CommandError> {
        match (self.tls.given(), self.address.as_deref()) {
            (true, Some(address)) => Ok(DelegationClient::dialled(self.tls.dialler(address)?)),
            (true, None) => Err(CommandError::Flag(
                "a certificate needs --address HOST:PORT",
            )),
            (false, address) => {
                let kept = self.session.read()?;
                let address = address.unwrap_or(&kept.address);
                let client = DelegationClient::connect(address, kept.handle).await;
                client.map_err(CommandError::of_server)
            }
        }
    }
}
