//! Several nodes as one, in memory or through Redis.

mod bus;
mod claims;
mod commands;
mod directory;
mod in_memory;
mod leaving;
mod lists;
mod passwords;
mod redis_away;
mod redis_tls;
mod reservations;
mod returning;
mod scripts;
mod seats;
mod seats_under_load;
mod unusual_seats;
