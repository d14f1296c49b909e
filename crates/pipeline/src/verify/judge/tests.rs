use super::super::detail::Detail;
use super::super::faces::Face;
use super::*;
