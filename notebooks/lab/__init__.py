"""The instruments of the later notebooks, one concern a module; what notebooks 01 to 04 teach is in dcgan_utils.py."""
