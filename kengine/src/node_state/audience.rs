//! Which connections at an address get a push.

use crate::node_state::recipient::ConnectionId;
use crate::node_state::recipient::Recipient;
use crate::protocol::Uid;

/// A set of connections and users: the argument of [`except`](crate::room::Room::except) and
/// [`only`](crate::room::Room::only).
///
/// ```
/// use kengine::{Connection, Hub, Push, Uid};
///
/// #[derive(serde::Serialize, Push)]
/// struct Said(String);
///
/// fn announce(hub: &Hub, ada: &Connection, team: Vec<Uid>) -> kengine::Result<()> {
///     hub.room("lobby").except(ada).send(&Said("ada is here".into()))?;
///     hub.room("lobby").only(team).send(&Said("to arms".into()))?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub struct Who {
    /// Connections of this node; ids have no meaning on other nodes.
    #[cfg_attr(feature = "redis", serde(skip))]
    connections: Vec<ConnectionId>,
    users: Vec<Uid>,
}

impl Who {
    fn add(&mut self, others: Self) {
        self.connections.extend(others.connections);
        self.users.extend(others.users);
    }

    fn includes(&self, recipient: &dyn Recipient) -> bool {
        self.connections.contains(&recipient.state().id)
            || (!self.users.is_empty() && self.users.contains(&recipient.state().uid))
    }
}

impl From<ConnectionId> for Who {
    fn from(connection: ConnectionId) -> Self {
        Self { connections: vec![connection], ..Self::default() }
    }
}

impl From<Uid> for Who {
    fn from(user: Uid) -> Self {
        Self { users: vec![user], ..Self::default() }
    }
}

impl From<&Uid> for Who {
    fn from(user: &Uid) -> Self {
        user.clone().into()
    }
}

impl From<&str> for Who {
    /// Selects the user with this uid. An invalid uid selects no user.
    fn from(uid: &str) -> Self {
        Self { users: Uid::new(uid).into_iter().collect(), ..Self::default() }
    }
}

impl From<Vec<Uid>> for Who {
    fn from(users: Vec<Uid>) -> Self {
        Self { users, ..Self::default() }
    }
}

impl From<&[Uid]> for Who {
    fn from(users: &[Uid]) -> Self {
        users.to_vec().into()
    }
}

impl<T: Into<Self>> FromIterator<T> for Who {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut who = Self::default();
        items.into_iter().for_each(|item| who.add(item.into()));
        who
    }
}

/// Selects all connections at an address, all except some, or only some.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Audience {
    except: Who,
    only: Option<Who>,
}

impl Audience {
    pub(crate) fn except(&mut self, who: Who) {
        self.except.add(who);
    }

    pub(crate) fn only(&mut self, who: Who) {
        self.only.get_or_insert_default().add(who);
    }

    /// Returns the audience for other nodes, where only uids have a meaning; `None` if it includes no connection there.
    pub(crate) fn for_other_nodes(&self) -> Option<Self> {
        let users = |who: &Who| Who::from(&who.users[..]);
        let only = self.only.as_ref().map(users);
        if only.as_ref().is_some_and(|only| only.users.is_empty()) {
            return None;
        }
        Some(Self { except: users(&self.except), only })
    }

    pub(crate) fn includes(&self, recipient: &dyn Recipient) -> bool {
        !self.except.includes(recipient) && self.only.as_ref().is_none_or(|only| only.includes(recipient))
    }
}

/// Whether a handle reaches the whole cluster or only this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    Cluster,
    Node,
}

/// Which of the connections at an address a handle sends to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) audience: Audience,
    pub(crate) reach: Reach,
}
