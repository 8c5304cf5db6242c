//! A disk in memory with a crash model, for tests, simulation and transcripts.
