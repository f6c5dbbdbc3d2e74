//! What an app holds: wallet, replica, sync
