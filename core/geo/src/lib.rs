//! Station catalogue, nearest index, private areas
