"""Texts as tokens, their vocabularies and word vectors; DNA as one row per base."""
