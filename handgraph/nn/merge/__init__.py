"""Mergers of the incomplete poses of N branches into one pose."""
