#!/usr/bin/env python3
"""Draws the texts of the slates as bitmaps (PBM, "P4"): needs Pillow and a font with Hangul.

    draw.py NanumSquareRoundB.ttf
"""
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 512, 112
TEXTS = {
    "soon": ("곧 시작합니다", "Starting soon"),
    "away": ("잠시 후 이어집니다", "Back in a moment"),
    "covered": ("보호를 위해 가렸습니다", "Covered for your protection"),
}

for name, (korean, english) in TEXTS.items():
    image = Image.new("1", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    for text, size, y in ((korean, 48, 34), (english, 30, 90)):
        font = ImageFont.truetype(sys.argv[1], size)
        draw.text((WIDTH / 2, y), text, fill=1, font=font, anchor="mm")
    # In a PBM, 1 is black; here it is the text.
    body = image.tobytes()
    Path(__file__).with_name(f"{name}.pbm").write_bytes(b"P4\n%d %d\n" % (WIDTH, HEIGHT) + body)
