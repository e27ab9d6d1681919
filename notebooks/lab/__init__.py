"""The instruments of the later notebooks, one concern a module; notebook 00 to 04 teach what stands in dcgan_utils.py."""
