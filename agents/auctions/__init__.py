"""Auctions for programs: announcing work, bidding for it, doing it."""
