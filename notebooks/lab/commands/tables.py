"""Lines of the tables that `make bench` prints."""

import statistics


def median_ratio(values, others):
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def print_ratio(text, ratio, wanted=""):
    print(f"  {text:54}{ratio:>7.3f}" + (f"   (wanted: {wanted})" if wanted else ""))


def in_words(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
