"""Meshboard's node software. Modules directly in here decide; `meshcore.aio` does; nothing in here knows
Django.
"""
