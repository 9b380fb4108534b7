//! The tree of an environment, and which life of the ensemble it belongs to.

use change::Generation;
use uuid::Uuid;
use zookeeper_client::{CreateMode, Error as ZkError};

use crate::read::{Found, ReadError};
use crate::session::{Advice, Session, is_lost, is_over};

/// What stands below an environment's root, parents first; `generation` comes last and makes it one.
const FOLDERS: [&str; 15] = [
    "/head",
    "/edits",
    "/assets",
    "/settings",
    "/settings/feature_flags",
    "/settings/config",
    "/settings/scale",
    "/settings/endpoints",
    "/endpoints",
    "/services",
    "/locks",
    "/workers",
    "/control",
    "/control/approvals",
    "/control/resync",
];

/// Why an environment could not be made or its generation not be raised.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// A generation only grows.
    #[error("raise the generation to {wanted}: it is {current} already; choose a higher one")]
    NotHigher {
        /// The one that stands.
        current: Generation,
        /// The one that was asked for.
        wanted: u64,
    },
    /// Somebody else raised it meanwhile.
    #[error(
        "raise the generation: somebody else changed it meanwhile; look at `setkeeper status` and decide again"
    )]
    Raced,
    /// `NoAuth` or `InvalidAcl`.
    #[error(
        "create or set `{path}`: zookeeper refuses; check zookeeper.auth and zookeeper.acl (acl = \"creator\" needs \
         credentials)"
    )]
    Forbidden {
        /// The znode, absolute.
        path: String,
    },
    /// What stands there could not be read.
    #[error("read the generation")]
    Read(#[from] ReadError),
    /// Anything else.
    #[error("create or set `{path}`")]
    Zookeeper {
        /// The znode, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl GenerationError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            GenerationError::Zookeeper { .. } => Advice::Restart,
            GenerationError::Read(error) => error.advice(),
            GenerationError::NotHigher { .. }
            | GenerationError::Raced
            | GenerationError::Forbidden { .. } => Advice::Stop,
        }
    }
}

impl Session {
    /// The generation that stands; `None` means that there is no environment here, which is not an empty one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn generation(&self) -> Result<Option<Generation>, ReadError> {
        Ok(self.read_generation().await?.map(|(generation, _)| generation))
    }

    /// Makes the environment's tree: generation 1 with a random id, or, where a generation stands already, whatever
    /// is missing beside it. Returns the generation that stands then.
    ///
    /// # Errors
    /// [`GenerationError`].
    pub async fn init(&self) -> Result<Generation, GenerationError> {
        self.make_folders().await?;
        if let Some((generation, _)) = self.read_generation().await? {
            return Ok(generation);
        }
        let first = Generation { n: 1, id: Uuid::new_v4() };
        self.make("/generation", &to_json(first)).await?;
        // Whoever was first has made it, perhaps not us.
        match self.read_generation().await? {
            Some((generation, _)) => Ok(generation),
            None => Err(ReadError::NotInitialised { root: self.root().to_owned() }.into()),
        }
    }

    /// Raises the generation to `n`, which ends every worker's term; makes the tree if it is gone.
    ///
    /// # Errors
    /// [`GenerationError::NotHigher`] unless `n` is higher than what stands.
    pub async fn approve_generation(&self, n: u64) -> Result<Generation, GenerationError> {
        self.make_folders().await?;
        self.sync().await?;
        let next = Generation { n, id: Uuid::new_v4() };
        match self.read_generation().await? {
            None => self.make("/generation", &to_json(next)).await?,
            Some((current, _)) if current.n >= n => {
                return Err(GenerationError::NotHigher { current, wanted: n });
            }
            Some((_, found)) => {
                let set = self.client().set_data("/generation", &to_json(next), Some(found.version)).await;
                // A lost connection leaves the outcome open: the read below tells, because the id is random.
                if let Err(source) = set
                    && source != ZkError::BadVersion
                    && !is_lost(&source)
                {
                    return Err(self.generation_error("/generation", source));
                }
            }
        }
        self.sync().await?;
        match self.generation().await? {
            Some(now) if now == next => Ok(next),
            _ => Err(GenerationError::Raced),
        }
    }

    /// The generation and its znode.
    pub(crate) async fn read_generation(&self) -> Result<Option<(Generation, Found)>, ReadError> {
        let Some(found) = self.look("/generation").await? else { return Ok(None) };
        let generation = serde_json::from_slice(&found.bytes)
            .map_err(|source| ReadError::Malformed { path: self.absolute("/generation"), source })?;
        Ok(Some((generation, found)))
    }

    async fn make_folders(&self) -> Result<(), GenerationError> {
        let below = format!("{}/{}", self.config().root, self.config().env);
        let options = CreateMode::Persistent.with_acls(self.acls());
        let above = self.above();
        self.again(|| above.mkdir(&below, &options))
            .await
            .map_err(|source| self.generation_error("/", source))?;
        for folder in FOLDERS {
            self.make(folder, b"").await?;
        }
        Ok(())
    }

    async fn make(&self, path: &str, bytes: &[u8]) -> Result<(), GenerationError> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        match self.again(|| self.client().create(path, bytes, &options)).await {
            Ok(_) | Err(ZkError::NodeExists) => Ok(()),
            Err(source) => Err(self.generation_error(path, source)),
        }
    }

    fn generation_error(&self, path: &str, source: ZkError) -> GenerationError {
        let at = self.absolute(path);
        match source {
            ZkError::NoAuth | ZkError::InvalidAcl => GenerationError::Forbidden { path: at },
            source if is_over(&source) => self.read_error(path, source).into(),
            source => GenerationError::Zookeeper { path: at, source },
        }
    }
}

fn to_json(generation: Generation) -> Vec<u8> {
    serde_json::to_vec(&generation).expect("a number and a uuid always make JSON")
}
