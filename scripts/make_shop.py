"""Write `graphs/shop`: a small, complete and entirely synthetic e-commerce sample.

    python scripts/make_shop.py --out graphs/shop --seed 2025

Every brand, company, person and product is invented. The same seed gives the same bytes. What is planted, so that
there is something to learn:

- tastes: a user likes a few categories (by segment), materials (and their relatives: oak, so also other wood),
  companies, countries and styles; materials and companies cut across categories, so the product graph says more
  than the category tree
- drift: a user's categories move from a January taste to a December taste, seasons and weekends tilt them
- order: a sleeping bag follows the tent, coffee is bought again every few weeks, a visit often takes up where the
  last ended
- time: a product has no events before its release, a user none before signing up
- long tails, and cold starts: products nobody touched, users with no event or a single one
"""

from __future__ import annotations

import argparse
import csv
import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator

NUM_USERS = 600
NUM_PRODUCTS = 400  # in products.csv
NUM_CATALOG_ONLY = 10  # in catalog.ttl, but not in products.csv
NUM_UNLINKED = 15  # in products.csv, but not in catalog.ttl
NUM_UNTOUCHED = 8  # in products.csv, but in no event
NUM_SILENT = 12  # users without an event
NUM_SINGLE = 15  # users with exactly one event
NUM_OFFERS = 12  # products whose catalog entry carries an offer, a blank node

FIRST_DAY, LAST_DAY = date(2025, 1, 1), date(2025, 12, 31)
DAY, HOUR, MINUTE = 86_400, 3_600, 60
START = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
SITE = "https://shop.example/"

Option = TypeVar("Option")


# What the shop sells: materials, companies, brands, categories, and who comes to buy.


class Material(NamedTuple):
    """What a product is made of; `note` is a sentence for its description, empty for a group such as wood."""

    name: str
    german: str
    broader: str | None
    note: str = ""


MATERIALS = [
    Material("wood", "Holz", None),
    Material("oak", "Eiche", "wood", "Solid oak turns a warmer honey tone with every year."),
    Material("walnut", "Nussbaum", "wood", "The walnut is dark, quiet and finished with plain oil."),
    Material("beech", "Buche", "wood", "Pale beech keeps it light, and scratches sand out."),
    Material("bamboo", "Bambus", "wood", "Bamboo grows back fast and shrugs off water."),
    Material("cork", "Kork", "wood", "Cork is soft to the touch and never slips."),
    Material("natural fibre", "Naturfaser", None),
    Material("wool", "Wolle", "natural fibre"),
    Material("merino wool", "Merinowolle", "wool", "Merino wool stays warm when damp and hardly ever smells."),
    Material("lambswool", "Lammwolle", "wool", "Soft lambswool traps air and warms at once."),
    Material("linen", "Leinen", "natural fibre", "Washed linen is cool in summer and needs no iron."),
    Material(
        "organic cotton", "Bio-Baumwolle", "natural fibre", "The organic cotton is combed, dense and machine washable."
    ),
    Material("hemp", "Hanf", "natural fibre", "Hemp softens with wear and outlasts most fabrics."),
    Material("metal", "Metall", None),
    Material("stainless steel", "Edelstahl", "metal", "Stainless steel cleans easily and does not rust."),
    Material("cast iron", "Gusseisen", "metal", "Cast iron holds its heat and lasts for generations."),
    Material("aluminium", "Aluminium", "metal", "Recycled aluminium keeps the weight down."),
    Material("titanium", "Titan", "metal", "Titanium is as strong as steel at half the weight."),
    Material("brass", "Messing", "metal", "Unlacquered brass darkens to a patina of its own."),
    Material("ceramic", "Keramik", None),
    Material("stoneware", "Steinzeug", "ceramic", "Each stoneware piece is glazed by hand, so no two match."),
    Material("porcelain", "Porzellan", "ceramic", "The porcelain is thin at the rim and safe in the dishwasher."),
    Material("terracotta", "Terrakotta", "ceramic", "Unglazed terracotta breathes and keeps roots healthy."),
    Material("glass", "Glas", None, "Mouth-blown glass catches the light."),
    Material("leather", "Leder", None, "Vegetable-tanned leather shapes itself to its owner."),
    Material("synthetic fibre", "Kunstfaser", None),
    Material(
        "ripstop nylon", "Ripstop-Nylon", "synthetic fibre", "Ripstop nylon sheds rain and will not tear further."
    ),
    Material(
        "recycled polyester",
        "Recycling-Polyester",
        "synthetic fibre",
        "The polyester was once bottles, and dries fast.",
    ),
    Material("plant based", "Pflanzlich", None),
    Material("arabica", "Arabica", "plant based", "The arabica is roasted in small batches, never dark."),
    Material("olive oil", "Olivenöl", "plant based", "It starts from olive oil of the first pressing."),
    Material("oat", "Hafer", "plant based", "Oat is mild, and comes from farms nearby."),
    Material("beeswax", "Bienenwachs", None, "Pure beeswax smells faintly of honey."),
    Material("paper", "Papier", "plant based", "The paper is uncoated and takes ink without bleeding."),
]
MATERIAL_OF = {material.name: material for material in MATERIALS}

COUNTRIES = {
    "SE": ("Sweden", "Schweden"),
    "GB": ("United Kingdom", "Vereinigtes Königreich"),
    "DE": ("Germany", "Deutschland"),
    "FR": ("France", "Frankreich"),
    "IT": ("Italy", "Italien"),
    "NL": ("Netherlands", "Niederlande"),
    "PT": ("Portugal", "Portugal"),
    "JP": ("Japan", "Japan"),
}
USER_COUNTRIES = {"DE": 0.28, "GB": 0.18, "FR": 0.16, "SE": 0.14, "NL": 0.12, "IT": 0.08, "PT": 0.04}

STYLES = ["nordic", "rustic", "minimal", "industrial", "colourful", "classic", "technical"]

COMPANIES = {  # name -> country
    "Tallvinge Group": "SE",
    "Osmerholt AB": "SE",
    "Harrowmere Holdings": "GB",
    "Penwhistle & Daughters": "GB",
    "Lindenrath Gruppe": "DE",
    "Wesselmoor GmbH": "DE",
    "Maison Sablemont": "FR",
    "Quercedo Fratelli": "IT",
    "Vlietmaar Collectief": "NL",
    "Serradouro": "PT",
    "Kumoriya Works": "JP",
}


class Brand(NamedTuple):
    """A name on the box: who owns it, where it sells, how it looks, and the materials it likes to use."""

    name: str
    company: str
    departments: tuple[str, ...]
    style: str
    materials: tuple[str, ...]


BRANDS = [
    Brand("Kvistborg", "Tallvinge Group", ("Home", "Kids"), "nordic", ("oak", "beech", "linen")),
    Brand("Fjällmora", "Tallvinge Group", ("Outdoor", "Clothing"), "technical", ("merino wool", "ripstop nylon")),
    Brand("Stigvind", "Tallvinge Group", ("Sports", "Outdoor"), "minimal", ("recycled polyester", "aluminium")),
    Brand("Osmerholt", "Osmerholt AB", ("Kitchen", "Home"), "nordic", ("stoneware", "beech")),
    Brand("Lammrike", "Osmerholt AB", ("Clothing", "Home", "Kids"), "classic", ("lambswool", "merino wool")),
    Brand("Brackenlow", "Harrowmere Holdings", ("Garden", "Outdoor"), "rustic", ("terracotta", "leather", "oak")),
    Brand("Thrupworth", "Harrowmere Holdings", ("Clothing", "Care"), "classic", ("leather", "lambswool")),
    Brand("Dunmarrow", "Harrowmere Holdings", ("Home", "Office"), "classic", ("walnut", "brass")),
    Brand("Penwhistle", "Penwhistle & Daughters", ("Office", "Kids"), "colourful", ("paper", "organic cotton")),
    Brand("Pockwell", "Penwhistle & Daughters", ("Kitchen", "Garden"), "colourful", ("stoneware", "stainless steel")),
    Brand("Eisenkamm", "Lindenrath Gruppe", ("Kitchen",), "industrial", ("stainless steel", "cast iron")),
    Brand("Lindenrath", "Lindenrath Gruppe", ("Home", "Office"), "minimal", ("oak", "aluminium")),
    Brand("Gipfelwart", "Lindenrath Gruppe", ("Outdoor", "Sports"), "technical", ("titanium", "aluminium")),
    Brand("Wesselmoor", "Wesselmoor GmbH", ("Clothing", "Sports"), "minimal", ("organic cotton", "hemp")),
    Brand("Moosgrund", "Wesselmoor GmbH", ("Care", "Garden"), "rustic", ("oat", "beeswax", "hemp")),
    Brand("Sablemont", "Maison Sablemont", ("Kitchen", "Home"), "classic", ("porcelain", "glass", "linen")),
    Brand("Pruvelle", "Maison Sablemont", ("Care", "Clothing"), "classic", ("olive oil", "linen")),
    Brand("Quercedo", "Quercedo Fratelli", ("Home", "Office"), "industrial", ("leather", "walnut", "brass")),
    Brand("Brunavolta", "Quercedo Fratelli", ("Kitchen",), "colourful", ("arabica", "aluminium", "olive oil")),
    Brand("Passolento", "Quercedo Fratelli", ("Clothing", "Sports", "Outdoor"), "classic", ("leather", "merino wool")),
    Brand("Vlietmaar", "Vlietmaar Collectief", ("Sports", "Kids"), "colourful", ("recycled polyester", "cork")),
    Brand("Polderlicht", "Vlietmaar Collectief", ("Home", "Garden"), "minimal", ("glass", "beeswax", "bamboo")),
    Brand("Serradouro", "Serradouro", ("Home", "Sports", "Office"), "rustic", ("cork", "terracotta")),
    Brand("Azulmar", "Serradouro", ("Kitchen", "Care"), "colourful", ("stoneware", "olive oil")),
    Brand("Kumoriya", "Kumoriya Works", ("Kitchen", "Office"), "minimal", ("bamboo", "porcelain", "paper")),
    Brand(
        "Hagane & Sora", "Kumoriya Works", ("Kitchen", "Garden", "Outdoor"), "minimal", ("titanium", "stainless steel")
    ),
]
BRAND_OF = {brand.name: brand for brand in BRANDS}


class Leaf(NamedTuple):
    """A category that products sit in. `follows` is bought after it; `refill_days` is set for what is used up."""

    path: str
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    uses: tuple[str, ...]
    price: tuple[float, float]
    kilograms: tuple[float, float]
    trims: tuple[str, ...] = ()
    follows: str | None = None
    refill_days: int | None = None
    peak_month: int | None = None

    @property
    def name(self) -> str:
        return self.path.split(" > ")[-1]

    @property
    def department(self) -> str:
        return self.path.split(" > ")[0]


LEAVES = [
    Leaf("Home > Furniture > Tables", ("side table", "coffee table", "dining table", "console table"),
         ("oak", "walnut", "beech", "bamboo", "glass"),
         ("Seats a small family without crowding the room.", "Fits beside the sofa and carries lamp, book and tea."),
         (79, 690), (4, 38), ("brass", "aluminium")),
    Leaf("Home > Furniture > Chairs", ("dining chair", "lounge chair", "stool", "rocking chair"),
         ("oak", "walnut", "beech", "leather"),
         ("Comfortable through a long dinner.", "A seat for the reading corner, easy to move."),
         (59, 420), (3, 12), ("linen", "leather"), follows="Tables"),
    Leaf("Home > Furniture > Shelves", ("wall shelf", "bookcase", "shelf unit"),
         ("oak", "walnut", "bamboo", "aluminium"),
         ("Holds books, plants and the odd treasure.", "Hangs flat on the wall with two screws."),
         (39, 380), (2, 30), ("brass",)),
    Leaf("Home > Lighting > Lamps", ("table lamp", "floor lamp", "pendant lamp", "reading lamp"),
         ("brass", "glass", "aluminium", "oak", "stoneware"),
         ("Gives a soft, glare-free light for the evening.", "Dims down for late hours, up for close work."),
         (35, 260), (0.8, 7), ("linen", "walnut"), peak_month=11),
    Leaf("Home > Lighting > Candles", ("pillar candles", "tealights", "taper candles"), ("beeswax", "olive oil"),
         ("Burns slowly and evenly, without soot.", "For long dinners and early dusk."),
         (6, 28), (0.2, 0.9), refill_days=35, peak_month=12),
    Leaf("Home > Textiles > Blankets", ("throw", "blanket", "bedspread"),
         ("merino wool", "lambswool", "organic cotton", "linen"),
         ("For the sofa, the balcony and the guest who is always cold.", "Large enough to share."),
         (39, 190), (0.6, 2.2), peak_month=11),
    Leaf("Home > Textiles > Cushions", ("cushion", "floor cushion", "seat pad"),
         ("linen", "organic cotton", "lambswool", "leather"),
         ("Softens a hard chair.", "The cover comes off for washing."), (15, 85), (0.3, 1.8), follows="Chairs"),
    Leaf("Home > Textiles > Bed linen", ("duvet cover", "fitted sheet", "pillowcase set"),
         ("linen", "organic cotton", "hemp"),
         ("Gets softer with every wash.", "Made for warm sleepers."), (25, 190), (0.5, 2.4)),
    Leaf("Kitchen > Cookware > Pots", ("stockpot", "saucepan", "casserole", '10" Dutch oven'),
         ("cast iron", "stainless steel", "stoneware", "aluminium"),
         ("From stove to oven to table.", "Right for soups, stews and Sunday roasts."), (29, 240), (1, 6), ("brass",)),
    Leaf("Kitchen > Cookware > Pans", ("frying pan", "grill pan", '12" skillet'),
         ("cast iron", "stainless steel", "aluminium"),
         ("Sears hard and wipes clean.", "For pancakes in the morning and fish at night."), (25, 160), (0.8, 3.2),
         ("beech",), follows="Pots"),
    Leaf("Kitchen > Tableware > Mugs", ("mug", "espresso cup set", "tea bowl"),
         ("stoneware", "porcelain", "glass", "titanium"),
         ("Keeps the first coffee of the day warm.", "Sits well in cold hands."), (9, 45), (0.1, 0.8),
         follows="Coffee makers"),
    Leaf("Kitchen > Tableware > Plates", ("dinner plate", "serving platter", "bowl set"),
         ("stoneware", "porcelain", "bamboo", "walnut"),
         ("Stacks neatly in a narrow cupboard.", "Makes a plain supper look planned."), (12, 95), (0.3, 3)),
    Leaf("Kitchen > Knives", ("chef's knife", "paring knife", "bread knife"), ("stainless steel", "titanium"),
         ("Holds its edge through a week of cooking.", "Balanced at the bolster, easy on the wrist."),
         (29, 220), (0.1, 0.4), ("walnut", "oak", "beech")),
    Leaf("Kitchen > Cutting boards", ("cutting board", "end-grain board"), ("oak", "walnut", "beech", "bamboo"),
         ("Kind to sharp knives.", "A groove catches the juice."), (19, 120), (0.6, 4), follows="Knives"),
    Leaf("Kitchen > Coffee > Coffee makers", ("moka pot", "pour-over set", "French press", "espresso maker"),
         ("aluminium", "stainless steel", "glass", "porcelain"),
         ("Makes four small cups in five minutes.", "Slow coffee for unhurried mornings."), (25, 290), (0.4, 4),
         ("walnut", "cork")),
    Leaf("Kitchen > Coffee > Grinders", ("hand grinder", "burr grinder"), ("stainless steel", "beech", "aluminium"),
         ("Grinds evenly from espresso to French press.", "Small enough for the rucksack."), (35, 180), (0.4, 2),
         ("walnut",), follows="Coffee makers"),
    Leaf("Kitchen > Coffee > Coffee beans", ("espresso beans", "filter beans", "breakfast blend"), ("arabica",),
         ("Chocolate first, then a little orange.", "Good black, better with milk."), (8, 24), (0.25, 1.0),
         follows="Coffee makers", refill_days=21),
    Leaf("Kitchen > Pantry > Oils", ("cooking oil", "finishing oil"), ("olive oil",),
         ("For frying, for salads, for bread.", "Peppery, green and fresh."), (7, 32), (0.5, 1.1), refill_days=42),
    Leaf("Outdoor > Camping > Tents", ("two-person tent", "tunnel tent", "tarp tent"),
         ("ripstop nylon", "recycled polyester", "organic cotton"),
         ("Pitches in minutes, even in wind.", "Room for two and a wet dog."), (120, 690), (1.1, 6.5),
         ("aluminium", "titanium"), peak_month=6),
    Leaf("Outdoor > Camping > Sleeping bags", ("summer sleeping bag", "mummy sleeping bag", "sleeping bag liner"),
         ("recycled polyester", "ripstop nylon", "merino wool", "organic cotton"),
         ("Warm down to the first frost.", "Packs to the size of a loaf."), (45, 390), (0.4, 1.9), follows="Tents",
         peak_month=6),
    Leaf("Outdoor > Camping > Sleeping mats", ("sleeping mat", "air mat", "folding mat"),
         ("ripstop nylon", "recycled polyester", "cork"),
         ("Keeps stones and cold ground away.", "Rolls up small and inflates in ten breaths."), (25, 190), (0.3, 1.2),
         follows="Sleeping bags", peak_month=6),
    Leaf("Outdoor > Camping > Stoves", ("camping stove", "wood stove", "cook set"),
         ("titanium", "aluminium", "stainless steel"),
         ("Boils half a litre in three minutes.", "Nests into itself with room for a lighter."), (25, 160), (0.1, 1.2),
         follows="Tents", peak_month=7),
    Leaf("Outdoor > Hiking > Backpacks", ("daypack", "trekking backpack", "roll-top backpack"),
         ("ripstop nylon", "recycled polyester", "leather", "hemp"),
         ("Carries a weekend without sore shoulders.", "A pocket for everything and a place for the map."),
         (59, 280), (0.5, 2.3), ("leather", "aluminium"), peak_month=5),
    Leaf("Outdoor > Hiking > Boots", ("hiking boots", "trail boots"), ("leather", "recycled polyester"),
         ("Grips wet rock and muddy paths.", "Can be resoled, twice at least."), (99, 320), (0.9, 1.8),
         ("merino wool",), peak_month=9),
    Leaf("Outdoor > Hiking > Bottles", ("water bottle", "thermos flask"),
         ("stainless steel", "titanium", "aluminium", "glass"),
         ("Hot tea at noon, still hot at dusk.", "Clips to any strap and never drips."), (15, 75), (0.1, 0.6),
         ("cork", "bamboo"), follows="Backpacks"),
    Leaf("Clothing > Knitwear > Sweaters", ("sweater", "cardigan", "roll-neck"),
         ("merino wool", "lambswool", "organic cotton"),
         ("Knitted in one piece, without a seam to rub.", "For office, cabin and everything between."),
         (59, 210), (0.3, 0.9), peak_month=11),
    Leaf("Clothing > Knitwear > Hats", ("beanie", "ribbed hat", "headband"), ("merino wool", "lambswool", "hemp"),
         ("Covers the ears and fits under a hood.", "Folds into a coat pocket."), (15, 55), (0.05, 0.15),
         follows="Sweaters", peak_month=12),
    Leaf("Clothing > Basics > Socks", ("hiking socks", "everyday socks", "knee socks"),
         ("merino wool", "organic cotton", "hemp"),
         ("Cushioned where it counts.", "Stays up, day after day."), (8, 29), (0.05, 0.15), follows="Boots"),
    Leaf("Clothing > Basics > Base layers", ("long-sleeve base layer", "leggings", "T-shirt"),
         ("merino wool", "organic cotton", "recycled polyester", "hemp"),
         ("Worn next to the skin on cold starts.", "Wicks, dries and is ready again by morning."),
         (25, 110), (0.1, 0.35),
         peak_month=1),
    Leaf("Clothing > Outerwear > Jackets", ("rain jacket", "wax jacket", "wind shell", "work jacket"),
         ("ripstop nylon", "recycled polyester", "organic cotton", "leather", "linen"),
         ("Keeps out the wind without the rustle.", "Taped seams and a hood that turns with the head."),
         (79, 420), (0.2, 1.8), ("brass",), peak_month=10),
    Leaf("Sports > Running > Running shoes", ("road running shoes", "trail running shoes"),
         ("recycled polyester", "merino wool", "hemp"),
         ("Light and springy over long miles.", "Built for daily training."), (79, 210), (0.4, 0.8), ("cork",),
         peak_month=4),
    Leaf("Sports > Running > Running wear", ("running shirt", "running shorts", "running vest"),
         ("recycled polyester", "merino wool", "ripstop nylon"),
         ("Moves along and never chafes.", "Reflective where cars look."), (25, 120), (0.1, 0.3),
         follows="Running shoes", peak_month=4),
    Leaf("Sports > Yoga > Yoga mats", ("yoga mat", "travel yoga mat"), ("cork", "organic cotton", "hemp"),
         ("Grips better as the hands warm up.", "Lies flat from the first day."), (29, 130), (0.8, 2.8)),
    Leaf("Sports > Yoga > Yoga props", ("yoga block", "yoga strap", "bolster"),
         ("cork", "bamboo", "organic cotton", "hemp"),
         ("Brings the floor a little closer.", "Steady support for long holds."),
         (9, 69), (0.1, 2.5), follows="Yoga mats"),
    Leaf("Care > Body > Soaps", ("hand soap", "soap bar", "bath soap"), ("olive oil", "oat", "beeswax"),
         ("Mild enough for the whole family.", "Lathers well, even in hard water."),
         (4, 18), (0.08, 0.5), refill_days=30),
    Leaf("Care > Body > Shampoos", ("shampoo bar", "hair soap"), ("olive oil", "oat"),
         ("Replaces two bottles and travels well.", "For fine and tired hair."), (7, 22), (0.06, 0.2), refill_days=45),
    Leaf("Care > Leather care", ("leather balm", "boot wax", "saddle soap"), ("beeswax", "olive oil"),
         ("Feeds dry leather and keeps out the rain.", "A thin coat every month is enough."), (7, 25), (0.1, 0.3),
         follows="Boots", refill_days=60),
    Leaf("Garden > Hand tools", ("trowel", "pruning shears", "hand fork"), ("stainless steel", "aluminium", "brass"),
         ("Cuts clean, so that plants heal.", "Fits the hand and hangs on a hook."), (12, 85), (0.2, 0.8),
         ("beech", "oak", "leather"), peak_month=4),
    Leaf("Garden > Planters", ("planter", "flower pot", "hanging planter"),
         ("terracotta", "stoneware", "bamboo", "aluminium"),
         ("For herbs on the sill or a fig by the door.", "Drains well and survives a mild winter."),
         (9, 120), (0.4, 12),
         peak_month=5),
    Leaf("Garden > Watering cans", ("watering can", "plant mister"), ("brass", "stainless steel", "glass", "aluminium"),
         ("Pours exactly where it is aimed.", "Pretty enough to leave out."), (14, 95), (0.2, 1.5),
         follows="Planters", peak_month=6),
    Leaf("Kids > Toys", ("building blocks", "toy train", "stacking rings", "dollhouse"),
         ("beech", "oak", "bamboo", "organic cotton"),
         ("Survives older siblings.", "No batteries, no end of games."), (15, 140), (0.3, 4), peak_month=12),
    Leaf("Kids > Baby textiles", ("baby blanket", "swaddle", "sleepsuit"),
         ("organic cotton", "merino wool", "lambswool"),
         ("Soft on new skin.", "Washes well, which it will have to."), (15, 85), (0.1, 0.7)),
    Leaf("Office > Paper > Notebooks", ("notebook", "sketchbook", "pocket diary"), ("paper",),
         ("Lies flat from the first page to the last.", "For lists, drafts and drawings."), (5, 32), (0.1, 0.6),
         ("leather", "linen", "cork"), refill_days=50, peak_month=9),
    Leaf("Office > Writing > Pens", ("fountain pen", "ballpoint pen", "pencil set"),
         ("brass", "aluminium", "walnut", "titanium"),
         ("Starts at the first stroke.", "Weighted towards the nib."), (9, 140), (0.02, 0.15), follows="Notebooks"),
    Leaf("Office > Desk > Organisers", ("desk tray", "pen stand", "monitor stand"),
         ("oak", "walnut", "cork", "aluminium", "bamboo"),
         ("Clears the desk in a minute.", "A place for cables, cards and keys."),
         (15, 130), (0.2, 4), ("leather", "brass")),
]  # fmt: skip
LEAF_INDEX = {leaf.name: index for index, leaf in enumerate(LEAVES)}
FOLLOWERS = [[LEAF_INDEX[later.name] for later in LEAVES if later.follows == leaf.name] for leaf in LEAVES]

GERMAN_CATEGORIES = {
    "Home": "Wohnen", "Furniture": "Möbel", "Tables": "Tische", "Chairs": "Stühle", "Shelves": "Regale",
    "Lighting": "Beleuchtung", "Lamps": "Lampen", "Candles": "Kerzen", "Textiles": "Heimtextilien",
    "Blankets": "Decken", "Cushions": "Kissen", "Bed linen": "Bettwäsche", "Kitchen": "Küche",
    "Cookware": "Kochgeschirr", "Pots": "Töpfe", "Pans": "Pfannen", "Tableware": "Geschirr", "Mugs": "Becher",
    "Plates": "Teller", "Knives": "Messer", "Cutting boards": "Schneidebretter", "Coffee": "Kaffee",
    "Coffee makers": "Kaffeebereiter", "Grinders": "Kaffeemühlen", "Coffee beans": "Kaffeebohnen",
    "Pantry": "Vorrat", "Oils": "Öle", "Outdoor": "Draußen", "Camping": "Camping", "Tents": "Zelte",
    "Sleeping bags": "Schlafsäcke", "Sleeping mats": "Isomatten", "Stoves": "Kocher", "Hiking": "Wandern",
    "Backpacks": "Rucksäcke", "Boots": "Stiefel", "Bottles": "Flaschen", "Clothing": "Kleidung",
    "Knitwear": "Strickwaren", "Sweaters": "Pullover", "Hats": "Mützen", "Basics": "Grundausstattung",
    "Socks": "Socken", "Base layers": "Unterwäsche", "Outerwear": "Überbekleidung", "Jackets": "Jacken",
    "Sports": "Sport", "Running": "Laufen", "Running shoes": "Laufschuhe", "Running wear": "Laufbekleidung",
    "Yoga": "Yoga", "Yoga mats": "Yogamatten", "Yoga props": "Yogazubehör", "Care": "Pflege", "Body": "Körper",
    "Soaps": "Seifen", "Shampoos": "Shampoos", "Leather care": "Lederpflege", "Garden": "Garten",
    "Hand tools": "Handwerkzeuge", "Planters": "Pflanzgefäße", "Watering cans": "Gießkannen", "Kids": "Kinder",
    "Toys": "Spielzeug", "Baby textiles": "Babytextilien", "Office": "Büro", "Paper": "Papierwaren",
    "Notebooks": "Notizbücher", "Writing": "Schreiben", "Pens": "Stifte", "Desk": "Schreibtisch",
    "Organisers": "Ordnungshelfer",
}  # fmt: skip

TITLE_NAMES = [
    "Alma", "Anouk", "Arvid", "Astrid", "Aurel", "Balder", "Bastian", "Beata", "Birk", "Bruno", "Cajsa", "Cecil",
    "Clara", "Cosmo", "Dagny", "Dario", "Dorit", "Ebba", "Edda", "Eino", "Elio", "Elka", "Enzo", "Esme", "Falk",
    "Fenna", "Finn", "Flora", "Frida", "Gerda", "Gino", "Greta", "Gustav", "Hedda", "Helmi", "Hilda", "Hugo",
    "Ida", "Ilse", "Ines", "Ivar", "Janne", "Jorid", "Juna", "Kaia", "Karl", "Kasimir", "Keld", "Lena", "Leif",
    "Linus", "Liv", "Lotta", "Luca", "Magnus", "Maia", "Malte", "Marit", "Milo", "Mina", "Nadja", "Nils", "Noor",
    "Odin", "Olga", "Orla", "Oskar", "Otto", "Paola", "Pelle", "Petra", "Pia", "Rafa", "Ragna", "Remo", "Rikke",
    "Rosa", "Runa", "Sanna", "Selma", "Signe", "Silvio", "Sixten", "Stella", "Sven", "Tilda", "Tomas", "Tove",
    "Ulla", "Uma", "Valter", "Vera", "Vidar", "Viola", "Wanda", "Wilma", "Yara", "Ylva", "Zeno",
]  # fmt: skip


class Segment(NamedTuple):
    """A kind of customer: mean age, how much each department matters, and materials that are liked."""

    name: str
    age: float
    departments: dict[str, float]
    materials: tuple[str, ...]


SEGMENTS = [
    Segment("nester", 41, {"Home": 3.0, "Garden": 1.2, "Care": 0.8},
            ("oak", "walnut", "linen", "brass", "lambswool", "glass", "beeswax")),
    Segment("cook", 46, {"Kitchen": 3.0, "Garden": 0.8, "Home": 0.6},
            ("cast iron", "stainless steel", "stoneware", "olive oil", "arabica", "walnut", "porcelain")),
    Segment("hiker", 37, {"Outdoor": 3.0, "Clothing": 1.5, "Sports": 0.8},
            ("merino wool", "titanium", "ripstop nylon", "leather", "aluminium", "recycled polyester")),
    Segment("athlete", 29, {"Sports": 3.0, "Clothing": 1.5, "Care": 0.8, "Outdoor": 0.8},
            ("recycled polyester", "cork", "merino wool", "hemp", "organic cotton", "stainless steel")),
    Segment("family", 36, {"Kids": 3.0, "Home": 1.2, "Kitchen": 1.0, "Clothing": 0.8},
            ("beech", "organic cotton", "merino wool", "bamboo", "oat", "stoneware")),
    Segment("desk", 32, {"Office": 3.0, "Kitchen": 1.0, "Home": 0.8},
            ("paper", "walnut", "brass", "aluminium", "arabica", "leather", "cork")),
]  # fmt: skip
SEGMENT_SHARES = [0.22, 0.20, 0.18, 0.15, 0.13, 0.12]
WEEKEND_DEPARTMENTS = {"Outdoor", "Garden", "Home"}


# Products


@dataclass(frozen=True)
class Product:
    """One thing for sale; `leaf` indexes LEAVES, the first material is the one in the title."""

    id: str
    title: str
    description: str
    leaf: int
    brand: Brand
    materials: tuple[str, ...]
    style: str
    price: float
    kilograms: float
    released: date


def make_products(rng: Generator) -> list[Product]:
    """NUM_PRODUCTS for the shop, then NUM_CATALOG_ONLY more for the catalog alone, with unique titles."""
    num_products = NUM_PRODUCTS + NUM_CATALOG_ONLY
    leaves = np.resize(np.arange(len(LEAVES)), num_products)
    rng.shuffle(leaves[:NUM_PRODUCTS])
    titles: set[str] = set()
    products = []
    for number, leaf in enumerate(leaves, start=1):
        product = make_product(rng, f"p{number:04d}", int(leaf), titles)
        titles.add(product.title)
        products.append(product)
    return products


def make_product(rng: Generator, product_id: str, leaf_index: int, titles: set[str]) -> Product:
    """A product of this leaf category from a brand that serves its department; the title is not in `titles`."""
    leaf = LEAVES[leaf_index]
    brand = pick(rng, [brand for brand in BRANDS if leaf.department in brand.departments])
    material = pick(rng, leaf.materials, [4.0 if name in brand.materials else 1.0 for name in leaf.materials])
    trims = [name for name in leaf.trims if name != material]
    materials = (material, pick(rng, trims)) if trims and rng.random() < 0.5 else (material,)
    style = brand.style if rng.random() < 0.7 else pick(rng, STYLES)
    noun = pick(rng, leaf.nouns)
    title = unused_title(rng, f"{material} {noun}", titles)
    size = rng.random()
    return Product(
        id=product_id,
        title=title,
        description=describe(rng, leaf, brand, materials, style, noun),
        leaf=leaf_index,
        brand=brand,
        materials=materials,
        style=style,
        price=price_tag(between(leaf.price, 0.7 * size + 0.3 * rng.random())),
        kilograms=round(between(leaf.kilograms, size), 2),
        released=release_date(rng),
    )


def unused_title(rng: Generator, thing: str, titles: set[str]) -> str:
    """'Arvid oak side table', with the first name of a random order that is still free for this thing."""
    order = rng.permutation(TITLE_NAMES)
    return next(title for name in order if (title := f"{name} {thing}") not in titles)


def describe(rng: Generator, leaf: Leaf, brand: Brand, materials: Sequence[str], style: str, noun: str) -> str:
    """Two or three sentences on style, thing, material, maker and use."""
    country, _ = COUNTRIES[COMPANIES[brand.company]]
    country = f"the {country}" if country in ("United Kingdom", "Netherlands") else country
    made_of = " with details in ".join(materials)
    opening = pick(rng, [
        f"{style.capitalize()} {noun} in {made_of}, made by {brand.name} in {country}.",
        f"From the {brand.name} workshop in {country}: {style} {noun} in {made_of}.",
        f"The {style} choice among our {leaf.name.lower()}: {noun} in {made_of}, by {brand.name} of {country}.",
    ])  # fmt: skip
    sentences = [opening, pick(rng, leaf.uses)]
    if rng.random() < 0.75:
        sentences.append(MATERIAL_OF[materials[0]].note)
    return " ".join(sentences)


def release_date(rng: Generator) -> date:
    """Three of four products are older than the events; the rest arrive between February and October 2025."""
    if rng.random() < 0.75:
        return date(2018, 1, 1) + timedelta(days=int(rng.integers(0, 2500)))
    return date(2025, 2, 1) + timedelta(days=int(rng.integers(0, 270)))


def price_tag(price: float) -> float:
    """Rounded as shops do: 12.40 -> 12.90, 129.40 -> 129.00."""
    return math.floor(price) + (0.90 if price < 50 else 0.0)


def accessories(products: Sequence[Product]) -> dict[str, list[str]]:
    """Accessory id -> ids of at most two products of the category it follows, sharing company or material."""
    fits = {}
    for product in products:
        main = LEAVES[product.leaf].follows
        if main is not None:
            mains = [other for other in products if other.leaf == LEAF_INDEX[main]]
            fits[product.id] = [other.id for other in mains if is_kin(product, other)][:2]
    return fits


def is_kin(one: Product, other: Product) -> bool:
    """Whether two products are of the same company or share a material."""
    return one.brand.company == other.brand.company or bool(set(one.materials) & set(other.materials))


# Users and their tastes


@dataclass(frozen=True)
class User:
    """A customer. `visits` is how often they come in a year by themselves; `max_events` is set for cold starts."""

    id: str
    age: int
    country: str
    segment: int
    late_segment: int
    signed_up: date
    newsletter: bool
    visits: float
    max_events: int | None


def make_users(rng: Generator) -> list[User]:
    """NUM_USERS, among them NUM_SILENT that will have no event and NUM_SINGLE with one."""
    cold = rng.permutation(NUM_USERS)
    silent, single = set(cold[:NUM_SILENT]), set(cold[NUM_SILENT : NUM_SILENT + NUM_SINGLE])
    users = []
    for number in range(NUM_USERS):
        segment = int(rng.choice(len(SEGMENTS), p=SEGMENT_SHARES))
        late_segment = int(rng.choice(len(SEGMENTS), p=SEGMENT_SHARES)) if rng.random() < 0.2 else segment
        age = int(np.clip(round(rng.normal(SEGMENTS[segment].age, 8)), 18, 79))
        country = pick(rng, list(USER_COUNTRIES), list(USER_COUNTRIES.values()))
        users.append(
            User(
                id=f"u{number + 1:04d}",
                age=age,
                country=country,
                segment=segment,
                late_segment=late_segment,
                signed_up=signup_date(rng),
                newsletter=bool(rng.random() < 0.4),
                visits=float(np.clip(rng.lognormal(1.95, 0.6), 0.7, 60)),
                max_events=0 if number in silent else 1 if number in single else None,
            )
        )
    return users


def signup_date(rng: Generator) -> date:
    """Seven of ten users are older than the events; the rest join during 2025, until the middle of December."""
    if rng.random() < 0.7:
        return FIRST_DAY - timedelta(days=int(rng.integers(1, 1400)))
    return FIRST_DAY + timedelta(days=int(rng.integers(0, 348)))


@dataclass(frozen=True)
class Tastes:
    """Log weights: of leaf categories in January and in December [users, leaves], and of products [users, products]."""

    early: np.ndarray
    late: np.ndarray
    product: np.ndarray


def make_tastes(rng: Generator, users: Sequence[User], products: Sequence[Product]) -> Tastes:
    wish = rng.normal(0, 1.3, (len(users), len(LEAVES)))
    change = rng.normal(0, 1.3, (len(users), len(LEAVES)))
    early = wish + [[department_weight(user.segment, leaf) for leaf in LEAVES] for user in users]
    late = (
        0.8 * wish + 0.6 * change + [[department_weight(user.late_segment, leaf) for leaf in LEAVES] for user in users]
    )
    product = np.stack([product_taste(rng, user, products) for user in users])
    return Tastes(early, late, product + popularity(rng, len(products)))


def department_weight(segment: int, leaf: Leaf) -> float:
    """How much this segment cares for the leaf's department, as a log weight."""
    return SEGMENTS[segment].departments.get(leaf.department, -0.8)


def popularity(rng: Generator, num_products: int) -> np.ndarray:
    """A long tail [products]; a few products at the far end are never touched."""
    weight = rng.normal(0, 0.65, num_products)
    weight[rng.choice(NUM_PRODUCTS, NUM_UNTOUCHED, replace=False)] = -np.inf
    weight[NUM_PRODUCTS:] = -np.inf
    return weight


def product_taste(rng: Generator, user: User, products: Sequence[Product]) -> np.ndarray:
    """How far this user's materials, companies, countries and styles raise each product [products]."""
    real = [material.name for material in MATERIALS if material.note]
    chosen = [4.0 if name in SEGMENTS[user.segment].materials else 0.5 for name in real]
    loved = set(rng.choice(real, 3, replace=False, p=np.array(chosen) / sum(chosen)))
    groups = {MATERIAL_OF[name].broader for name in loved} - {None}
    companies = set(rng.choice(list(COMPANIES), 2, replace=False))
    far_country = pick(rng, list(COUNTRIES))
    styles = set(rng.choice(STYLES, 2, replace=False))

    def taste(product: Product) -> float:
        country = COMPANIES[product.brand.company]
        return (
            2.4 * bool(loved & set(product.materials))
            + 0.7 * bool(groups & {MATERIAL_OF[name].broader for name in product.materials})
            + 2.0 * (product.brand.company in companies)
            + 0.8 * (country == user.country)
            + 0.6 * (country == far_country)
            + 0.6 * (product.style in styles)
        )

    return np.array([taste(product) for product in products])


# Events


class Event(NamedTuple):
    """One row of events.csv, in its order of sorting; `time` is in unix seconds."""

    time: int
    user: str
    product: str
    event: str


class Visit(NamedTuple):
    """A planned session: to browse a leaf category (None: whatever pleases), or to buy one product again."""

    time: int
    leaf: int | None = None
    bought: int | None = None
    refill: bool = False


class Shop:
    """The year's traffic: each user walks through an agenda of visits, and purchases put new visits on it."""

    def __init__(
        self, products: Sequence[Product], users: Sequence[User], tastes: Tastes, fits: dict[str, list[str]]
    ) -> None:
        self.products = products
        self.users = users
        self.tastes = tastes
        self.leaf_of = np.array([product.leaf for product in products])
        self.released = np.array([midnight(product.released) for product in products])
        self.fits = fits

    def events(self, rng: Generator) -> list[Event]:
        """All events of all users, in time order."""
        rows = []
        for number, (user, stream) in enumerate(zip(self.users, rng.spawn(len(self.users)), strict=True)):
            rows.extend(list(self.walk(stream, number))[: user.max_events])
        return sorted(rows)

    def walk(self, rng: Generator, user: int) -> Iterator[Event]:
        """One user's events in time order; sessions are at least two hours apart."""
        agenda = [Visit(time) for time in visit_times(rng, self.users[user])]
        heapq.heapify(agenda)
        owned: set[int] = set()
        seen = np.zeros(len(self.products))
        last_leaf: int | None = None
        free_from = 0
        while agenda:
            visit = heapq.heappop(agenda)
            time = max(visit.time, free_from)
            if time > END - 2 * HOUR:
                continue
            refill = visit.bought if visit.refill else None
            leaf = visit.leaf if refill is None else int(self.leaf_of[refill])
            if leaf is None:
                leaf = (
                    self.draw_leaf(rng, user, time) if last_leaf is None else self.next_leaf(rng, user, time, last_leaf)
                )
            if refill is not None:
                viewed = [refill]
            else:
                viewed = self.draw_views(rng, user, visit, leaf, time, owned, seen)
            rows, purchases = self.session(rng, user, viewed, time, visit.refill)
            yield from rows
            seen[viewed] = 1
            owned.update(purchases)
            last_leaf, free_from = leaf, rows[-1].time + 2 * HOUR
            for product in purchases:
                for later in self.consequences(rng, user, product, rows[-1].time):
                    heapq.heappush(agenda, later)

    def next_leaf(self, rng: Generator, user: int, time: int, last_leaf: int) -> int:
        """The category after `last_leaf`: the same again, one that follows it, or a new choice."""
        turn = rng.random()
        if turn < 0.2:
            return last_leaf
        if turn < 0.45 and FOLLOWERS[last_leaf]:
            return pick(rng, FOLLOWERS[last_leaf])
        return self.draw_leaf(rng, user, time)

    def draw_leaf(self, rng: Generator, user: int, time: int) -> int:
        """The category of a visit: between January's and December's taste, tilted by season and weekend."""
        moment = datetime.fromtimestamp(time, UTC)
        drift = (time - START) / (END - START)
        weight = (1 - drift) * self.tastes.early[user] + drift * self.tastes.late[user]
        for index, leaf in enumerate(LEAVES):
            if leaf.peak_month is not None:
                weight[index] += 0.6 * math.cos(2 * math.pi * (moment.month - leaf.peak_month) / 12)
            if (leaf.department in WEEKEND_DEPARTMENTS) == (moment.weekday() >= 5):
                weight[index] += 0.5
        return draw(rng, weight, 1)[0]

    def draw_views(
        self, rng: Generator, user: int, visit: Visit, leaf: int, time: int, owned: set[int], seen: np.ndarray
    ) -> list[int]:
        """Products looked at in one session: mostly of its leaf category, none unreleased, few owned already."""
        weight = self.tastes.product[user] + 4.2 * (self.leaf_of == leaf) + 0.3 * seen
        weight += 0.7 * (time - self.released < 45 * DAY)
        if owned:
            weight[list(owned)] -= 3.0
        if visit.bought is not None:
            weight += [3.0 * self.belongs(product, self.products[visit.bought]) for product in self.products]
        weight[self.released > time] = -np.inf
        return draw(rng, weight, min(1 + rng.geometric(0.38), 9))

    def belongs(self, product: Product, main: Product) -> bool:
        return product.brand == main.brand or main.id in self.fits.get(product.id, [])

    def session(
        self, rng: Generator, user: int, viewed: Sequence[int], time: int, refill: bool
    ) -> tuple[list[Event], list[int]]:
        """Views, carts shortly after their view, purchases at the end; and the products purchased."""
        clock, rows, carted = time, [], []

        def log(product: int, event: str, wait: float) -> None:
            nonlocal clock
            rows.append(Event(clock, self.users[user].id, self.products[product].id, event))
            clock += int(wait)

        for product in viewed:
            log(product, "view", np.clip(rng.lognormal(4.0, 0.8), 8, 12 * MINUTE))
            if refill or rng.random() < 1 / (1 + math.exp(3.7 - 0.5 * self.tastes.product[user, product])):
                carted.append(product)
                log(product, "cart", float(rng.integers(10, 90)))
        purchases = [product for product in carted if refill or rng.random() < 0.6]
        if purchases:
            clock += int(rng.integers(30, 4 * MINUTE))
        for product in purchases:
            log(product, "purchase", 1)
        return rows, purchases

    def consequences(self, rng: Generator, user: int, product: int, time: int) -> Iterator[Visit]:
        """What a purchase leads to: an accessory within days, the same thing again when it is used up."""
        leaf = self.leaf_of[product]
        for follower in FOLLOWERS[leaf]:
            if rng.random() < 0.6:
                yield Visit(time + int(rng.uniform(1, 9) * DAY), leaf=follower, bought=product)
        days = LEAVES[leaf].refill_days
        if days is not None and rng.random() < 0.6:
            yield Visit(time + int(rng.normal(days, 0.06 * days) * DAY), bought=product, refill=True)


def visit_times(rng: Generator, user: User) -> list[int]:
    """When a user comes unprompted: some on weekends, most in the evening, each with a favourite hour."""
    first = max(FIRST_DAY, user.signed_up)
    num_days = (LAST_DAY - first).days + 1
    weekend_lover = rng.random() < 0.4
    favourite_hour = pick(rng, [8, 12, 20], [0.15, 0.2, 0.65])
    weekdays = (first.weekday() + np.arange(num_days)) % 7
    weight = np.where(weekdays >= 5, 3.0 if weekend_lover else 0.8, 1.0)
    num_visits = max(1, rng.poisson(user.visits * num_days / 365))
    days = rng.choice(num_days, num_visits, p=weight / weight.sum())
    hours = np.clip(rng.normal(favourite_hour, 1.5, num_visits), 5, 22.5)
    return [int(midnight(first) + day * DAY + hour * HOUR) for day, hour in zip(days, hours, strict=True)]


# Draws


def pick(rng: Generator, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
    """One of the options, by weight."""
    share = None if weights is None else np.array(weights) / np.sum(weights)
    return options[rng.choice(len(options), p=share)]


def draw(rng: Generator, log_weight: np.ndarray, num: int) -> list[int]:
    """`num` different indices, by weight and in order of being drawn (Gumbel top-k)."""
    return [int(index) for index in np.argsort(-(log_weight + rng.gumbel(size=len(log_weight))), kind="stable")[:num]]


def between(bounds: tuple[float, float], share: float) -> float:
    """The point this far along from low to high, on a log scale."""
    low, high = bounds
    return low * (high / low) ** share


def midnight(day: date) -> int:
    """Unix seconds at the start of this day, UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


# Tables


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """UTF-8, one header line, line feeds on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def user_rows(users: Sequence[User]) -> Iterator[Sequence]:
    for user in users:
        newsletter = "yes" if user.newsletter else "no"
        yield user.id, user.age, user.country, SEGMENTS[user.segment].name, user.signed_up.isoformat(), newsletter


def product_rows(products: Sequence[Product]) -> Iterator[Sequence]:
    for product in products:
        path, released = LEAVES[product.leaf].path, product.released.isoformat()
        yield product.id, product.title, product.description, path, product.brand.name, f"{product.price:.2f}", released


# Catalog: Turtle


PREFIXES = {
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "schema": "https://schema.org/",
    "shop": SITE,
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def iri(kind: str, *names: str) -> str:
    """iri("material", "merino wool") -> <https://shop.example/material/merino-wool>"""
    return f"<{SITE}{kind}/{'/'.join(slug(name) for name in names)}>"


def slug(name: str) -> str:
    """'Hagane & Sora' -> 'hagane-sora'; letters beyond ASCII stay, IRIs may have them."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


def literal(text: str, language: str) -> str:
    """A language-tagged Turtle string with quotes, backslashes and line ends escaped."""
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(raw, escaped)
    return f'"{text}"@{language}'


def typed(value: str, datatype: str) -> str:
    return f'"{value}"^^xsd:{datatype}'


def block(subject: str, statements: Sequence[tuple[str, str]]) -> str:
    """One subject with its predicates and objects, a line each."""
    lines = [f"    {predicate} {value}" for predicate, value in statements]
    return f"{subject}\n" + " ;\n".join(lines) + " .\n"


def catalog(products: Sequence[Product], fits: dict[str, list[str]], offered: set[str]) -> Iterator[str]:
    """The blocks of catalog.ttl: everything that products refer to, then the products."""
    yield "# Synthetic product catalog in schema.org terms, written by scripts/make_shop.py.\n" + "".join(
        f"@prefix {prefix}: <{namespace}> .\n" for prefix, namespace in PREFIXES.items()
    )
    yield block("shop:Material", [("a", "rdfs:Class"), ("rdfs:label", literal("Material", "en"))])
    yield from country_blocks()
    yield from company_blocks()
    yield from brand_blocks()
    yield from material_blocks()
    yield from category_blocks()
    listed = {product.id for product in products}
    for product in products:
        mains = [main for main in fits.get(product.id, []) if main in listed]
        yield product_block(product, mains, product.id in offered)


def country_blocks() -> Iterator[str]:
    for code, (english, german) in COUNTRIES.items():
        names = [("schema:name", literal(english, "en")), ("schema:name", literal(german, "de"))]
        yield block(f"<{SITE}country/{code}>", [("a", "schema:Country"), *names])


def company_blocks() -> Iterator[str]:
    for company, country in COMPANIES.items():
        located = ("schema:location", f"<{SITE}country/{country}>")
        yield block(
            iri("company", company), [("a", "schema:Organization"), ("schema:name", literal(company, "en")), located]
        )


def brand_blocks() -> Iterator[str]:
    for brand in BRANDS:
        owned = ("schema:parentOrganization", iri("company", brand.company))
        yield block(
            iri("brand", brand.name), [("a", "schema:Brand"), ("schema:name", literal(brand.name, "en")), owned]
        )


def material_blocks() -> Iterator[str]:
    for material in MATERIALS:
        statements = [("a", "shop:Material")]
        statements += [("rdfs:label", literal(material.name, "en")), ("rdfs:label", literal(material.german, "de"))]
        if material.broader is not None:
            statements.append(("skos:broader", iri("material", material.broader)))
        yield block(iri("material", material.name), statements)


def category_blocks() -> Iterator[str]:
    """Each node of the category tree; departments also say skos:narrower, which the others leave to skos:broader."""
    paths = {tuple(leaf.path.split(" > ")[:depth]) for leaf in LEAVES for depth in (1, 2, 3)}
    for path in sorted(paths):
        name = path[-1]
        statements = [("a", "skos:Concept")]
        statements += [
            ("skos:prefLabel", literal(name, "en")),
            ("skos:prefLabel", literal(GERMAN_CATEGORIES[name], "de")),
        ]
        if len(path) > 1:
            statements.append(("skos:broader", iri("category", *path[:-1])))
        else:
            children = sorted(child for child in paths if len(child) == 2 and child[0] == name)
            statements += [("skos:narrower", iri("category", *child)) for child in children]
        yield block(iri("category", *path), statements)


def product_block(product: Product, mains: Sequence[str], has_offer: bool) -> str:
    statements = [
        ("a", "schema:Product"),
        ("schema:name", literal(product.title, "en")),
        ("schema:brand", iri("brand", product.brand.name)),
        *(("schema:material", iri("material", material)) for material in product.materials),
        ("schema:category", iri("category", *LEAVES[product.leaf].path.split(" > "))),
        ("schema:weight", typed(f"{product.kilograms:.2f}", "decimal")),
        ("schema:releaseDate", typed(product.released.isoformat(), "date")),
        *(("schema:isAccessoryOrSparePartFor", iri("product", main)) for main in mains),
    ]
    if has_offer:
        price = typed(f"{product.price:.2f}", "decimal")
        statements.append(("schema:offers", f'[ a schema:Offer ; schema:price {price} ; schema:priceCurrency "EUR" ]'))
    return block(iri("product", product.id), statements)


# README


README = """\
# shop: a small synthetic e-commerce sample

Users, products, events and a product graph in schema.org terms, of an invented shop. **All data is synthetic**: no
person, brand, company or product is real. A script makes the files; the same seed gives the same bytes:

    python scripts/make_shop.py --out graphs/shop --seed {seed}

| file | rows | contents |
|---|---:|---|
| `users.csv` | {num_users:,} | one customer in each row |
| `products.csv` | {num_products:,} | one product in each row |
| `events.csv` | {num_events:,} | views, carts and purchases in order of time, 2025-01-01 to 2025-12-31 |
| `catalog.ttl` | {num_listed:,} products | brands, companies, countries, materials, categories and products in Turtle |

## Columns

`users.csv`: `user` (`u0001`), `age` in years, `country` (ISO 3166-1 alpha-2), `segment` (nester, cook, hiker,
athlete, family or desk: the kind of customer at the start of the year), `signed_up` (ISO date), `newsletter` (yes
or no).

`products.csv`: `product` (`p0001`), `title` (unique), `description` (two or three sentences), `category` (a path of
two or three names with ` > ` between them), `brand`, `price` in euro, `released` (ISO date).

`events.csv`: `user`, `product`, `event` (view, cart or purchase), `time` (Unix seconds, UTC). A cart event follows a
view in the same session, and a purchase follows a cart event. There are {num_view:,} views, {num_cart:,} carts and
{num_purchase:,} purchases. No row is repeated.

`catalog.ttl`: the IRI of a product is `https://shop.example/product/{{product}}`. A product has `schema:name`,
`schema:brand`, `schema:material` (one or two), `schema:category` (the last step of its path), `schema:weight` in
kilograms and `schema:releaseDate`. Some have `schema:isAccessoryOrSparePartFor` and `schema:offers` (a blank node). A
brand has a `schema:parentOrganization`, a company. The company has a `schema:location`, a country. Categories are a
tree of `skos:broader` with labels in English and German; departments also have `skos:narrower`. Materials
(`shop:Material`) have `skos:broader` too: oak is wood.

## Patterns in the data

- **Tastes.** A user prefers some categories (by segment), three materials and similar ones, two companies, the home
  country and one other country, and two styles. Materials and companies are found in many categories, so the catalog
  has information that the category does not have.
- **Drift.** Preferences for categories change from January to December. A fifth of the users may change their segment.
  Seasons and weekends also change what people look at.
- **Order.** Most of a session is in one category. The next session often continues there, or goes on to the next
  category. A purchase is followed by its accessories within days (tent, then sleeping bag, then mat), often of the
  same brand. Consumables (coffee, soap, candles) are bought again after some time.
- **Time.** No product has an event before its release (a quarter are released in 2025), and no user before signing up.
- **Long tails and cold starts.** {num_silent} users have no events, and some have only one. {num_untouched} products
  have no events.
- **Missing links.** {num_unlinked} products are not in the catalog, and {num_catalog_only} products of the catalog
  are not in `products.csv`.

Licence: Apache-2.0, as the project.
"""


def readme(seed: int, num_listed: int, events: Sequence[Event]) -> str:
    count = {kind: sum(event.event == kind for event in events) for kind in ("view", "cart", "purchase")}
    return README.format(
        seed=seed,
        num_users=NUM_USERS,
        num_products=NUM_PRODUCTS,
        num_events=len(events),
        num_listed=num_listed,
        num_view=count["view"],
        num_cart=count["cart"],
        num_purchase=count["purchase"],
        num_silent=NUM_USERS - len({event.user for event in events}),
        num_untouched=NUM_PRODUCTS - len({event.product for event in events}),
        num_unlinked=NUM_UNLINKED,
        num_catalog_only=NUM_CATALOG_ONLY,
    )


def make_shop(out: Path, seed: int) -> None:
    """Write all five files of the sample to the folder `out`; the same seed gives the same bytes."""
    product_rng, user_rng, taste_rng, event_rng, catalog_rng = np.random.default_rng(seed).spawn(5)
    products = make_products(product_rng)
    users = make_users(user_rng)
    fits = accessories(products)
    events = Shop(products, users, make_tastes(taste_rng, users, products), fits).events(event_rng)

    unlinked = set(catalog_rng.choice(NUM_PRODUCTS, NUM_UNLINKED, replace=False))
    listed = [product for number, product in enumerate(products) if number not in unlinked]
    offered = {listed[number].id for number in catalog_rng.choice(len(listed), NUM_OFFERS, replace=False)}

    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "users.csv", ["user", "age", "country", "segment", "signed_up", "newsletter"], user_rows(users))
    columns = ["product", "title", "description", "category", "brand", "price", "released"]
    write_csv(out / "products.csv", columns, product_rows(products[:NUM_PRODUCTS]))
    rows = ((event.user, event.product, event.event, event.time) for event in events)
    write_csv(out / "events.csv", ["user", "product", "event", "time"], rows)
    write_text(out / "catalog.ttl", "\n".join(catalog(listed, fits, offered)))
    write_text(out / "README.md", readme(seed, len(listed), events))


def write_text(path: Path, text: str) -> None:
    """UTF-8, line feeds on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the synthetic shop sample: users, products, events and catalog."
    )
    default_out = Path(__file__).resolve().parent.parent / "graphs" / "shop"
    parser.add_argument("--out", type=Path, default=default_out, help="folder to write to (default: graphs/shop)")
    parser.add_argument("--seed", type=int, default=2025, help="same seed, same bytes (default: 2025)")
    settings = parser.parse_args()
    make_shop(settings.out, settings.seed)


if __name__ == "__main__":
    main()
