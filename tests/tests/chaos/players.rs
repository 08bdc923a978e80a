//! Honest players: they join and leave rooms, chat, and come back when they are cut off.

use std::{sync::Arc, time::Duration};

use kengine_tests::Dice;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    crowd::{Crowd, Mode, ROOMS},
    link::{End, Link, Request},
};

/// The time between two heartbeats.
pub(crate) const BEAT: Duration = Duration::from_secs(2);
/// The most rooms that a player is in.
const MAX_ROOMS: usize = 4;

/// A player.
#[derive(Debug)]
pub(crate) struct Player {
    number: usize,
    dice: Dice,
    crowd: Arc<Crowd>,
    mode: watch::Receiver<Mode>,
    /// How many times it has connected.
    serial: u64,
}

/// How a player's use of a connection ended.
enum Stay {
    /// The player has gone away for good.
    Gone,
    /// The player wants to connect again, now or after a pause.
    Again,
    /// The player has connected again.
    On(Box<Link>),
}

impl Player {
    pub(crate) fn new(number: usize, dice: Dice, crowd: Arc<Crowd>) -> Self {
        let mode = crowd.mode.subscribe();
        Self { number, dice, crowd, mode, serial: 0 }
    }

    /// Plays until all players are to go.
    pub(crate) async fn play(mut self) {
        let mut link = None;
        while *self.mode.borrow() != Mode::Go {
            let stay = match link.take() {
                Some(link) => self.stay(link).await,
                None => self.connect().await.map_or(Stay::Again, |link| Stay::On(Box::new(link))),
            };
            match stay {
                Stay::Gone => return,
                Stay::On(new) => link = Some(*new),
                Stay::Again => {
                    self.crowd.of(self.number).is_away();
                    let pause = Duration::from_millis(50 + self.dice.roll(700) as u64);
                    sleep(pause).await;
                }
            }
        }
    }

    /// Connects. The gateway sometimes knows the player's uid or a room, and sometimes neither.
    async fn connect(&mut self) -> Option<Link> {
        self.serial += 1;
        let uid = Crowd::uid(self.number);
        let query = match self.dice.roll(4) {
            0 => format!("uid={uid}&near={uid}"),
            1 => format!("uid={uid}&room={}", Crowd::room(self.dice.roll(ROOMS))),
            _ => format!("uid={uid}"),
        };
        let mut link = Link::connect(&self.crowd, self.number, self.serial, &query).await;
        if let Some(connected) = &mut link
            && connected.request(Request::Process, "").await.is_err()
        {
            link = None;
        }
        if link.is_none() {
            self.crowd.of(self.number).cuts += 1;
        }
        link
    }

    /// Uses a connection until it ends.
    async fn stay(&mut self, mut link: Link) -> Stay {
        let mut beat_at = Instant::now() + BEAT;
        let mut act_at = Instant::now();
        self.mode.mark_changed();
        loop {
            self.publish(&link);
            let happened = tokio::select! {
                read = link.read() => read,
                _ = self.mode.changed() => {
                    let mode = *self.mode.borrow_and_update();
                    match mode {
                        Mode::Probe(number) => self.probe(&mut link, number).await,
                        Mode::Go => {
                            self.leave(link).await;
                            return Stay::Gone;
                        }
                        Mode::Play | Mode::Stay => Ok(()),
                    }
                }
                () = sleep_until(beat_at) => {
                    beat_at = Instant::now() + BEAT;
                    let mode = *self.mode.borrow();
                    match mode {
                        _ if link.is_silent() => Err(End::Silent),
                        Mode::Probe(number) if !link.unheard.is_empty() => self.say_unheard(&mut link, number).await,
                        _ => link.beat().await,
                    }
                }
                () = sleep_until(act_at) => {
                    act_at = Instant::now() + Duration::from_millis(200 + self.dice.roll(1800) as u64);
                    if *self.mode.borrow() == Mode::Play && link.process.is_some() {
                        match self.act(link).await {
                            Ok((same, done)) => {
                                link = same;
                                done
                            }
                            Err(stay) => return stay,
                        }
                    } else {
                        Ok(())
                    }
                }
            };
            if let Err(end) = happened {
                self.crowd.of(self.number).cuts += 1;
                self.crowd.count(match end {
                    End::Closed(code) => format!("ends with {code}"),
                    End::Cut => "ends without a close".to_owned(),
                    End::Silent => "ends after a silence".to_owned(),
                });
                return Stay::Again;
            }
        }
    }

    /// Does something at random. Returns the connection, unless it is not used any more.
    async fn act(&mut self, mut link: Link) -> Result<(Link, Result<(), End>), Stay> {
        let room = self.dice.roll(ROOMS);
        let joined: Vec<_> = link.rooms.iter().copied().collect();
        let one = (!joined.is_empty()).then(|| joined[self.dice.roll(joined.len())]);
        let done = match (self.dice.roll(40), one) {
            (0, _) => {
                self.leave(link).await;
                return Err(Stay::Again);
            }
            (1, _) => return Err(self.come_again(link).await),
            (2..=6, Some(room)) => link.request(Request::Leave(room), "").await,
            (7..=28, Some(room)) => link.request(Request::Say(room), "-").await,
            _ if joined.len() < MAX_ROOMS && !joined.contains(&room) && link.unanswered() == 0 => {
                link.request(Request::Join(room), "").await
            }
            _ => Ok(()),
        };
        Ok((link, done))
    }

    /// Connects again while the older connection is open, which the cluster must then end.
    async fn come_again(&mut self, older: Link) -> Stay {
        let Some(newer) = self.connect().await else { return Stay::On(Box::new(older)) };
        let (crowd, number) = (Arc::clone(&self.crowd), self.number);
        crowd.of(number).older += 1;
        tokio::spawn(async move {
            let end = older.outlive().await;
            crowd.count(format!("older connections: {end:?}"));
            crowd.of(number).older -= 1;
        });
        Stay::On(Box::new(newer))
    }

    /// Says a probe in each room.
    async fn probe(&mut self, link: &mut Link, number: u32) -> Result<(), End> {
        link.heard.retain(|(heard, ..)| *heard == number);
        link.unheard = link.rooms.iter().copied().collect();
        self.say_unheard(link, number).await
    }

    /// Says the probe again where other nodes could not be reached.
    async fn say_unheard(&mut self, link: &mut Link, number: u32) -> Result<(), End> {
        for room in std::mem::take(&mut link.unheard) {
            link.request(Request::Probe(room), &format!("probe{number}")).await?;
        }
        Ok(())
    }

    /// Goes away, either with a close frame or without.
    async fn leave(&mut self, link: Link) {
        if self.dice.roll(2) == 0 {
            link.close().await;
        }
    }

    fn publish(&self, link: &Link) {
        let mut known = self.crowd.of(self.number);
        known.process = link.process;
        known.unanswered = link.unanswered();
        known.awaits = link.awaits();
        known.active = Some(Instant::now());
        if known.rooms != link.rooms {
            known.rooms.clone_from(&link.rooms);
        }
        if known.heard.len() != link.heard.len() || known.heard.last() != link.heard.last() {
            known.heard.clone_from(&link.heard);
        }
    }
}
