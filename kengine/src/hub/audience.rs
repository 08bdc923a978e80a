//! Which of those whom a send could reach it is for.

use crate::{Connection, ConnectionId, Uid, hub::Recipient};

/// Connections and users, by id: what [`except`](crate::Room::except) and [`only`](crate::Room::only) take.
///
/// ```
/// use kengine::{Connection, Hub, Push, Uid};
///
/// #[derive(serde::Serialize, Push)]
/// struct Said(String);
///
/// fn tell(hub: &Hub, ada: &Connection, team: Vec<Uid>) -> kengine::Result<()> {
///     hub.room("lobby").except(ada).send(&Said("ada is here".into()))?;
///     hub.room("lobby").only(team).send(&Said("to arms".into()))?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub struct Who {
    /// Of this node alone.
    #[cfg_attr(feature = "redis", serde(skip))]
    connections: Vec<ConnectionId>,
    users: Vec<Uid>,
}

impl Who {
    fn and(&mut self, others: Self) {
        self.connections.extend(others.connections);
        self.users.extend(others.users);
    }

    fn includes(&self, one: &dyn Recipient) -> bool {
        self.connections.contains(&one.id()) || (!self.users.is_empty() && self.users.contains(one.uid()))
    }
}

impl<S> From<&Connection<S>> for Who {
    fn from(connection: &Connection<S>) -> Self {
        connection.id().into()
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
    /// The user with this uid; nobody, if it is none.
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
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut who = Self::default();
        all.into_iter().for_each(|one| who.and(one.into()));
        who
    }
}

/// All of them, all but some, or some alone.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Audience {
    except: Who,
    only: Option<Who>,
}

impl Audience {
    pub(super) fn except(&mut self, who: Who) {
        self.except.and(who);
    }

    pub(super) fn only(&mut self, who: Who) {
        self.only.get_or_insert_default().and(who);
    }

    /// Whom of another node's it is for: only uids mean something there. `None` if it is for nobody.
    pub(super) fn abroad(&self) -> Option<Self> {
        let users = |who: &Who| Who::from(&who.users[..]);
        let only = self.only.as_ref().map(users);
        if only.as_ref().is_some_and(|only| only.users.is_empty()) {
            return None;
        }
        Some(Self { except: users(&self.except), only })
    }

    pub(crate) fn includes(&self, one: &dyn Recipient) -> bool {
        !self.except.includes(one) && self.only.as_ref().is_none_or(|only| only.includes(one))
    }
}
