"""Databases for tests, whatever runs them: what the plugin for pytest and the backend for Django
have in common, and what unittest and users of testcontainers import.
"""
