"""The store of many hosts, in an SQL database."""

from .store import SQLAlchemyStore as SQLAlchemyStore
