"""Small folders of raw files in the shapes that strangers have: exports of shops, well-known data sets, databases."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import random
import sqlite3
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

USERS, ITEMS, EVENTS = 30, 24, 400
START = datetime.datetime(2023, 1, 4, 8, 0)
WORDS = ["red", "blue", "tall", "small", "light", "heavy", "soft", "round", "early", "late", "quiet", "north"]
KINDS = ["Mugs", "Lamps", "Chairs", "Rugs", "Clocks"]


def happened(seed: int = 1, count: int = EVENTS) -> list[tuple[int, int, datetime.datetime, int]]:
    """User, item, time and a number from 1 to 5 of each event, in order of time. Some rows are missing at random."""
    rng = random.Random(seed)
    return [
        (
            rng.randrange(USERS),
            min(int(rng.expovariate(0.12)), ITEMS - 1),
            START + datetime.timedelta(hours=7 * n),
            rng.randint(1, 5),
        )
        for n in range(count)
    ]


def title(item: int) -> str:
    return f"{WORDS[item % 12].title()} {WORDS[item // 12 + 5]} {KINDS[item % 5][:-1]} {item}"


def table(path: Path, rows: Sequence[Sequence[object]], sep: str = ",", encoding: str = "utf-8") -> None:
    """Write rows as separated values, quoted where needed."""
    text = io.StringIO()
    csv.writer(text, delimiter=sep, lineterminator="\n").writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode(encoding))


def shopify(to: Path) -> None:
    """Orders as Shopify exports them: only the first line of an order has the customer and the time."""
    rng = random.Random(3)
    rows: list[list[object]] = [
        [
            "Name",
            "Email",
            "Financial Status",
            "Paid at",
            "Currency",
            "Total",
            "Lineitem quantity",
            "Lineitem name",
            "Lineitem price",
            "Lineitem sku",
            "Billing Name",
        ]
    ]
    for number, (user, item, time, _) in enumerate(happened()):
        for line in range(rng.randint(1, 3)):
            what = (item + 3 * line) % ITEMS
            first = [f"u{user}@example.org", "paid", time.strftime("%Y-%m-%d %H:%M:%S +0100"), "EUR", "40.00"]
            name = [f"#{1001 + number}"]
            rows.append(
                [
                    *name,
                    *(first if line == 0 else [""] * 5),
                    1 + line,
                    title(what),
                    f"{what + 0.5:.2f}",
                    f"SKU-{what:03}",
                    f"User {user}" if line == 0 else "",
                ]
            )
    table(to / "orders_export_1.csv", rows)


def german_shop(to: Path) -> None:
    """Semicolons, decimal commas, Windows-1252, German headers and dates."""
    rows: list[list[object]] = [
        ["Bestellnummer", "Bestelldatum", "Kundennummer", "Artikelnummer", "Bezeichnung", "Menge", "Preis"]
    ]
    for n, (user, item, time, amount) in enumerate(happened()):
        price = f"{item + 3.5:.2f}".replace(".", ",")
        date = time.strftime("%d.%m.%Y %H:%M")
        rows.append([5000 + n, date, f"K{user:04}", f"A-{item:03}", f"Größe “{title(item)}”", amount, price])
    table(to / "bestellungen.csv", rows, ";", "cp1252")


def online_retail(to: Path) -> None:
    """The Kaggle data set of a British retailer: returns have negative quantities, a quarter has no customer."""
    rows: list[list[object]] = [
        ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    ]
    for n, (user, item, time, amount) in enumerate(happened()):
        customer = "" if n % 5 == 0 else 12346 + user
        quantity = -amount if n % 23 == 0 else 6 * amount
        date = f"{time.month}/{time.day}/{time.year} {time.hour}:{time.minute:02}"
        country = ["United Kingdom", "France", "Germany"][user % 3]
        rows.append(
            [
                536365 + n // 3,
                f"{85000 + item}A",
                f"{title(item).upper()} £",
                quantity,
                date,
                item / 4 + 1,
                customer,
                country,
            ]
        )
    table(to / "data.csv", rows, ",", "cp1252")


def goodbooks(to: Path) -> None:
    rows = happened()
    table(to / "ratings.csv", [["user_id", "book_id", "rating"], *([u + 1, i + 1, r] for u, i, _, r in rows)])
    table(to / "to_read.csv", [["user_id", "book_id"], *([u + 1, (i * 5) % ITEMS + 1] for u, i, _, _ in rows[:60])])
    books: list[list[object]] = [
        [
            "book_id",
            "goodreads_book_id",
            "isbn",
            "authors",
            "original_publication_year",
            "title",
            "language_code",
            "average_rating",
            "image_url",
        ]
    ]
    for i in range(ITEMS):
        authors = ", ".join([f"Author {i % 7}", *([f"Author {i % 3}"] if i % 2 else [])])
        books.append(
            [
                i + 1,
                2767052 + 17 * i,
                f"43902{i:04}X",
                authors,
                1950.0 + i,
                title(i),
                ["eng", "fre"][i % 2],
                4 + i / 100,
                f"https://images.example/{i}.jpg",
            ]
        )
    table(to / "books.csv", books)
    table(to / "tags.csv", [["tag_id", "tag_name"], *([n, f"shelf-{n}"] for n in range(12))])
    table(
        to / "book_tags.csv",
        [
            ["goodreads_book_id", "tag_id", "count"],
            *([2767052 + 17 * i, (i * k) % 12, 90 - k] for i in range(ITEMS) for k in (1, 2, 5)),
        ],
    )


def steam(to: Path) -> None:
    """No header: user, game, purchase or play, hours, 0."""
    rows: list[list[object]] = []
    for user, item, _, hours in happened():
        rows += [[151603712 + user, title(item), "purchase", 1.0, 0]]
        rows += [[151603712 + user, title(item), "play", hours * 3.7, 0]] if hours > 2 else []
    table(to / "steam-200k.csv", rows)


def amazon(to: Path) -> None:
    """Reviews and metadata as JSON lines, packed."""
    to.mkdir(parents=True, exist_ok=True)
    with gzip.open(to / "Reviews_5.json.gz", "wt") as out:
        for user, item, time, stars in happened():
            row = {
                "overall": float(stars),
                "verified": True,
                "reviewTime": time.strftime("%m %d, %Y"),
                "reviewerID": f"A{user:07}X",
                "asin": f"B{item:09}",
                "reviewerName": f"R {user}",
                "reviewText": f"It is {WORDS[item % 12]} and {WORDS[user % 12]}, as I hoped for",
                "summary": "fine",
                "unixReviewTime": int(time.timestamp()),
            }
            out.write(json.dumps(row) + "\n")
    with gzip.open(to / "meta_Things.json.gz", "wt") as out:
        for item in range(ITEMS):
            row = {
                "asin": f"B{item:09}",
                "title": title(item),
                "category": ["Home", KINDS[item % 5]],
                "brand": f"Brand {item % 4}",
                "also_buy": [f"B{(item + 1) % ITEMS:09}"],
                "price": f"${item}.99",
            }
            out.write(json.dumps(row) + "\n")


def lastfm_plays(to: Path) -> None:
    """Tabs, no header: user, artist's id, artist's name, plays."""
    counts: dict[tuple[int, int], int] = {}
    for user, item, _, plays in happened():
        counts[user, item] = counts.get((user, item), 0) + plays * 13
    rows = [[f"{user:040x}", f"{item:08x}-12ab-4c", title(item), plays] for (user, item), plays in counts.items()]
    table(to / "usersha1-artmbid-artname-plays.tsv", rows, "\t")
    profile = [
        [f"{user:040x}", "mf"[user % 2], 20 + user % 30, ["Germany", "Canada"][user % 2], "Feb 1, 2007"]
        for user in range(USERS)
    ]
    table(to / "usersha1-profile.tsv", profile, "\t")


def news(to: Path) -> None:
    """Impressions of news and what was clicked, as in MIND."""
    rows, articles = [], []
    for n, (user, item, time, _) in enumerate(happened()):
        shown = [(item + 5 * k) % ITEMS for k in range(3)]
        listed = " ".join(f"N{10000 + one}-{int(one == item)}" for one in shown)
        past = " ".join(f"N{10000 + (user + k) % ITEMS}" for k in range(n % 4))
        rows.append([n + 1, f"U{13000 + user}", time.strftime("%m/%d/%Y %I:%M:%S %p"), past, listed])
    for item in range(ITEMS):
        articles.append(  # noqa: PERF401
            [
                f"N{10000 + item}",
                ["sports", "news"][item % 2],
                f"topic{item % 6}",
                f"{title(item)} wins again today",
                "A short abstract of the article stands here",
                f"https://news.example/{item}",
                "[]",
                "[]",
            ]
        )
    table(to / "behaviors.tsv", rows, "\t")
    table(to / "news.tsv", articles, "\t")


def _shop_tables() -> dict[str, list[list[object]]]:
    tables: dict[str, list[list[object]]] = {
        "customers": [
            ["customer_id", "name", "city", "birth_year"],
            *([u + 1, f"User {u}", ["Bonn", "Lyon", "Bath"][u % 3], 1950 + u] for u in range(USERS)),
        ],
        "categories": [["category_id", "category_name"], *([k + 1, kind] for k, kind in enumerate(KINDS))],
        "products": [
            ["product_id", "product_name", "category_id", "price"],
            *([i + 1, title(i), i % 5 + 1, i * 2.5 + 1] for i in range(ITEMS)),
        ],
        "orders": [["order_id", "customer_id", "order_date", "status"]],
        "order_items": [["order_item_id", "order_id", "product_id", "quantity", "unit_price"]],
    }
    for n, (user, item, time, amount) in enumerate(happened()):
        tables["orders"].append([n + 1, user + 1, time.strftime("%Y-%m-%d %H:%M:%S"), ["shipped", "new"][n % 2]])
        for line in range(1 + n % 2):
            what = (item + line * 4) % ITEMS
            tables["order_items"].append([len(tables["order_items"]), n + 1, what + 1, amount, what * 2.5 + 1])
    return tables


def order_tables(to: Path) -> None:
    """Lines of orders without the customer, who is in the orders."""
    for name, rows in _shop_tables().items():
        table(to / f"{name}.csv", rows)


def database(to: Path) -> None:
    """The same in an SQLite file."""
    to.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(to / "shop.db") as base:
        for name, rows in _shop_tables().items():
            base.execute(f"CREATE TABLE {name} ({', '.join(map(str, rows[0]))})")
            base.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows[1:])
    base.close()


def event_log(to: Path) -> None:
    """A Parquet log of views, carts and purchases, and the products."""
    kinds = ["view", "view", "view", "cart", "purchase", "remove_from_cart"]
    rows = happened()
    to.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "event_time": pd.to_datetime([t for _, _, t, _ in rows]),
            "event_type": [kinds[(n * 7) % 6] for n in range(len(rows))],
            "product_id": [1003461 + 13 * i for _, i, _, _ in rows],
            "category_code": [["electronics.phone", "home.lamp", None][i % 3] for _, i, _, _ in rows],
            "brand": [["acme", "umbra", "zeta"][i % 3] for _, i, _, _ in rows],
            "price": [i * 3.5 for _, i, _, _ in rows],
            "user_id": [520088904 + 7 * u for u, _, _, _ in rows],
            "user_session": [f"{u:04x}-{n // 5:05x}" for n, (u, _, _, _) in enumerate(rows)],
        }
    ).to_parquet(to / "2019-Oct.parquet")


def movielens_latest(to: Path) -> None:
    """Ratings, movies, tags and links, in an archive."""
    files = {
        "ratings.csv": [
            ["userId", "movieId", "rating", "timestamp"],
            *([u + 1, i * 3 + 1, r - 0.5, int(t.timestamp())] for u, i, t, r in happened()),
        ],
        "movies.csv": [
            ["movieId", "title", "genres"],
            *([i * 3 + 1, f"{title(i)}, The ({1990 + i})", "|".join(KINDS[: 1 + i % 3])] for i in range(ITEMS)),
        ],
        "tags.csv": [
            ["userId", "movieId", "tag", "timestamp"],
            *([u + 1, i * 3 + 1, WORDS[(u + i) % 6], int(t.timestamp())] for u, i, t, _ in happened(2, 80)),
        ],
        "links.csv": [["movieId", "imdbId", "tmdbId"], *([i * 3 + 1, f"01147{i:02}", 862 + i] for i in range(ITEMS))],
    }
    to.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(to / "ml-latest-small.zip", "w") as archive:
        for name, rows in files.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            archive.writestr(f"ml-latest-small/{name}", text.getvalue())
        archive.writestr("ml-latest-small/README.txt", "Summary\n=======\n")


def nested_json(to: Path) -> None:
    """Orders with their lines and customer inside, as a JSON document."""
    orders = []
    for n, (user, item, time, amount) in enumerate(happened()):
        lines = [
            {"sku": f"S{(item + k) % ITEMS:03}", "title": title((item + k) % ITEMS), "qty": amount}
            for k in range(1 + n % 2)
        ]
        orders.append(
            {
                "order_id": n,
                "created_at": time.isoformat() + "Z",
                "customer": {"id": f"c{user}", "city": "Bonn"},
                "items": lines,
            }
        )
    to.mkdir(parents=True, exist_ok=True)
    (to / "orders.json").write_text(json.dumps({"orders": orders}))


def atomic(to: Path) -> None:
    """RecBole's atomic files with a knowledge graph."""
    table(
        to / "things.inter",
        [
            ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
            *([u + 1, i + 1, float(r), t.timestamp()] for u, i, t, r in happened()),
        ],
        "\t",
    )
    table(
        to / "things.item",
        [
            ["item_id:token", "item_name:token_seq", "class:token_seq"],
            *([i + 1, title(i), " ".join(KINDS[: 1 + i % 2])] for i in range(ITEMS)),
        ],
        "\t",
    )
    table(
        to / "things.link",
        [["item_id:token", "entity_id:token"], *([i + 1, f"m.0{i:03}x"] for i in range(ITEMS))],
        "\t",
    )
    table(
        to / "things.kg",
        [
            ["head_id:token", "relation_id:token", "tail_id:token"],
            *([f"m.0{i:03}x", f"made.by.{k}", f"m.1{(i * (k + 1)) % 7}y"] for i in range(ITEMS) for k in range(3)),
        ],
        "\t",
    )


def kgat(to: Path) -> None:
    """Lists of train and test, renumbered items, and a knowledge graph of numbers."""
    lists: dict[int, list[int]] = {}
    for user, item, _, _ in happened():
        if item not in lists.setdefault(user, []):
            lists[user].append(item)
    to.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", slice(None, -2)), ("test", slice(-2, None))):
        lines = [" ".join(map(str, [user, *items[part]])) for user, items in sorted(lists.items()) if items[part]]
        (to / f"{name}.txt").write_text("\n".join(lines) + "\n")
    table(
        to / "item_list.txt",
        [["org_id", "remap_id", "freebase_id"], *([f"00{i:05}", i, f"m.0{i}q"] for i in range(ITEMS))],
        " ",
    )
    table(to / "kg_final.txt", [[i, k, ITEMS + (i * (k + 2)) % 9] for i in range(ITEMS) for k in range(4)], " ")


def triple_store(to: Path) -> None:
    """Everything is RDF: users, what they liked, and what the things are."""
    lines = ["@prefix : <http://shop.example/> .", "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> ."]
    lines += [f':user{u} a :Customer ; rdfs:label "User {u}" .' for u in range(USERS)]
    lines += [
        f':item{i} a :Product ; rdfs:label "{title(i)}" ; :madeBy :maker{i % 5} ; :kind :kind{i % 3} .'
        for i in range(ITEMS)
    ]
    lines += [f":maker{m} a :Maker ; :country :country{m % 2} ." for m in range(5)]
    lines += sorted({f":user{u} :bought :item{i} ." for u, i, _, _ in happened()})
    to.mkdir(parents=True, exist_ok=True)
    (to / "dump.ttl").write_text("\n".join(lines) + "\n")


def two_part_logs(to: Path) -> None:
    """A log in files by month, each with a header, and European dates without a day above twelve in one of them."""
    rows = happened()
    for month in ("01", "02", "03"):
        part = [r for n, r in enumerate(rows) if n % 3 == int(month) - 1]
        lines = [[f"v{u}", f"sku{i}", t.strftime("%d/%m/%Y %H:%M:%S")] for u, i, t, _ in part]
        table(to / f"clicks-2023-{month}.csv", [["visitor", "sku", "clicked_at"], *lines])


def warehouse(to: Path) -> None:
    """A fact table with keys of dimensions, and dates as whole numbers."""
    facts: list[list[object]] = [["sale_key", "customer_key", "product_key", "date_key", "units", "net_amount"]]
    facts += [[n, 1000 + u, 2000 + i, t.strftime("%Y%m%d"), r, r * 9.5] for n, (u, i, t, r) in enumerate(happened())]
    customers = [[1000 + u, "AB"[u % 2], "NSE"[u % 3]] for u in range(USERS)]
    products = [[2000 + i, title(i), f"B{i % 4}", 30 + i % 5] for i in range(ITEMS)]
    table(to / "fact_sales.csv", facts)
    table(to / "dim_customer.csv", [["customer_key", "segment", "region"], *customers])
    table(to / "dim_product.csv", [["product_key", "product_name", "brand", "category_key"], *products])
    table(to / "dim_category.csv", [["category_key", "category"], *([30 + k, kind] for k, kind in enumerate(KINDS))])


def behaviour_log(to: Path) -> None:
    """No header: user, item, the item's category, what happened, Unix time."""
    kinds = ["pv", "pv", "cart", "fav", "buy"]
    rows = [
        [u + 1, 2268318 + i, 2520377 + i % 5, kinds[n % 5], int(t.timestamp())]
        for n, (u, i, t, _) in enumerate(happened())
    ]
    table(to / "UserBehavior.csv", rows)


def playlists(to: Path) -> None:
    """Slices of playlists with their tracks inside, as JSON documents."""
    lists: list[dict[str, object]] = []
    for user in range(USERS):
        items = [i for u, i, _, _ in happened() if u == user]
        tracks = [
            {"track_uri": f"spotify:track:{i:022}", "track_name": title(i), "duration_ms": 9000 + i} for i in items
        ]
        lists.append({"name": f"mix {user % 4}", "pid": user, "tracks": tracks})
    to.mkdir(parents=True, exist_ok=True)
    for n, part in enumerate((lists[:15], lists[15:])):
        (to / f"mpd.slice.{n}.json").write_text(json.dumps({"info": {"v": 1}, "playlists": part}, indent=1))


def gtin(to: Path) -> None:
    """Sales by article number, and a catalog in schema.org terms that has these numbers."""
    rows = [[1, f"K{u}", f"40{i:011}", str(t)] for u, i, t, _ in happened()]
    table(to / "sales.csv", [["till", "customer_no", "ean", "sold_at"], *rows])
    products = [
        {
            "@id": f"https://s.example/p/{title(i).replace(' ', '-')}",
            "@type": "Product",
            "name": title(i),
            "gtin13": f"40{i:011}",
            "brand": {"@id": f"https://s.example/b/{i % 4}"},
        }
        for i in range(ITEMS)
    ]
    (to / "catalog.jsonld").write_text(json.dumps({"@context": "https://schema.org/", "@graph": products}))


#: Shape -> what makes it
SHAPES: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        shopify,
        german_shop,
        online_retail,
        goodbooks,
        steam,
        amazon,
        lastfm_plays,
        news,
        order_tables,
        database,
        event_log,
        movielens_latest,
        nested_json,
        atomic,
        kgat,
        triple_store,
        two_part_logs,
        warehouse,
        behaviour_log,
        playlists,
        gtin,
    )
}
