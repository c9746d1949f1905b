"""A shop with one table, through SQLAlchemy's asyncio."""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import Identity, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    what: Mapped[str]


class Wish(BaseModel):
    what: str


def engine():
    return create_async_engine("postgresql+psycopg://db.example.org/shop")


Engine = Annotated[object, Depends(engine)]
app = FastAPI()


@app.get("/orders")
async def orders(engine: Engine) -> list[str]:
    async with AsyncSession(engine) as session:
        return list(await session.scalars(select(Order.what).order_by(Order.id)))


@app.post("/orders", status_code=201)
async def order(wish: Wish, engine: Engine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(Order(what=wish.what))
