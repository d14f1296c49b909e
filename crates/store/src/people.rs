//! People, with what they are known by sealed with a key of their own.

use domain::{CollectionId, PersonId, PhotoId};
use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use zeroize::{Zeroize, Zeroizing};

use crate::audit::append;
use crate::consent::record;
use crate::db::{check_text, id, time};
use crate::key::SecretKey;
use crate::{Action, Error, NewConsent, Scope, Store, Topic};

/// Photos of one person, at most.
const MAX_PHOTOS: usize = 64;
/// Size of one photo file, at most.
const MAX_PICTURE: usize = 32 << 20;
/// Numbers in a template, at most.
const MAX_TEMPLATE: usize = 4096;

/// What a recogniser knows somebody by: the direction of one photo. Biometric data: cannot be printed,
/// overwritten when dropped.
pub struct Template(Zeroizing<Vec<f32>>);

impl Template {
    /// Of the numbers that a recogniser gave.
    pub fn new(values: Vec<f32>) -> Self {
        Self(Zeroizing::new(values))
    }

    /// The numbers. Never log them, never store them in the clear.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Error::Damaged("a template"));
        }
        Ok(Self::new(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }
}

/// A photo to enrol somebody by.
pub struct NewPhoto {
    /// The file, as it was given.
    pub picture: Vec<u8>,
    /// What the recogniser made of it.
    pub template: Template,
}

/// Overwritten, as its template is.
impl Drop for NewPhoto {
    fn drop(&mut self) {
        self.picture.zeroize();
    }
}

/// Somebody to enrol.
pub struct NewPerson {
    /// The user whose collection it is.
    pub owner: String,
    /// The collection; made if there is none of that name.
    pub collection: String,
    /// How they are called there.
    pub name: String,
    /// At least one photo.
    pub photos: Vec<NewPhoto>,
    /// That they agreed to it.
    pub consent: NewConsent,
}

/// Somebody who is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their id.
    pub id: PersonId,
    /// The user whose collection it is.
    pub owner: String,
    /// The name of their collection.
    pub collection: String,
    /// How they are called.
    pub name: String,
    /// How many photos there are of them.
    pub photos: i64,
    /// When they were enrolled.
    pub created_at: Timestamp,
}

/// One photo's template.
pub struct Face {
    /// Whose.
    pub person: PersonId,
    /// How that person is called.
    pub name: String,
    /// What they are known by.
    pub template: Template,
}

impl Store {
    /// Enrols somebody who agreed to it.
    ///
    /// # Errors
    /// [`Error::NameTaken`], or [`Error::Invalid`] for what is empty or too large.
    pub async fn add_person(
        &self,
        new: &NewPerson,
        actor: &str,
        now: Timestamp,
    ) -> Result<PersonId, Error> {
        check(new)?;
        let millis = now.as_millisecond();
        let mut tx = self.begin().await?;
        let collection = collection(&mut tx, &new.owner, &new.collection, millis).await?;
        let person = PersonId::new(millis);
        let key = SecretKey::random();
        let insert = "INSERT INTO people (id, collection, name, sealed_key, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (collection, name) DO NOTHING";
        let inserted = sqlx::query(insert)
            .bind(person.to_string())
            .bind(collection.to_string())
            .bind(&new.name)
            .bind(self.wrap.seal_key(&key_context(person), &key)?)
            .bind(millis)
            .execute(&mut *tx)
            .await?;
        if inserted.rows_affected() == 0 {
            let (collection, name) = (new.collection.clone(), new.name.clone());
            return Err(Error::NameTaken { collection, name });
        }
        for photo in &new.photos {
            add_photo(&mut tx, person, &key, photo, millis).await?;
        }
        let detail = format!("{} photos", new.photos.len());
        append(self, &mut tx, actor, Action::Enrol, &person.to_string(), &detail, now).await?;
        record(self, &mut tx, person, &new.consent, actor, now).await?;
        tx.commit().await?;
        Ok(person)
    }

    /// Everybody, or everybody of a user, or in a collection, by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a collection that does not exist.
    pub async fn people(
        &self,
        owner: Option<&str>,
        collection: Option<&str>,
    ) -> Result<Vec<Person>, Error> {
        if let Some(name) = collection {
            self.check_collection(owner.unwrap_or(""), name).await?;
        }
        let query = "SELECT p.id, c.owner, c.name AS collection, p.name, p.created_at, \
             (SELECT COUNT(*) FROM photos WHERE person = p.id) AS photos \
             FROM people p JOIN collections c ON c.id = p.collection \
             WHERE ($1 = '' OR c.owner = $1) AND ($2 = '' OR c.name = $2) ORDER BY c.owner, c.name, p.name";
        let rows = sqlx::query(query).bind(owner.unwrap_or("")).bind(collection.unwrap_or(""));
        rows.fetch_all(&self.pool).await?.iter().map(person).collect()
    }

    /// Whether a user has a collection of this name; without a user: whether anybody has.
    ///
    /// # Errors
    /// [`Error::NotFound`] if not.
    pub async fn check_collection(&self, owner: &str, name: &str) -> Result<(), Error> {
        let query = "SELECT 1 FROM collections WHERE name = $1 AND ($2 = '' OR owner = $2)";
        let row = sqlx::query(query).bind(name).bind(owner).fetch_optional(&self.pool).await?;
        let missing = || Error::NotFound { kind: "collection", name: name.to_owned() };
        row.map(|_| ()).ok_or_else(missing)
    }

    /// At most `limit` people of a user after id `after`, in order of ids: of one collection, or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn people_page(
        &self,
        owner: &str,
        collection: Option<&str>,
        after: Option<PersonId>,
        limit: u32,
    ) -> Result<Vec<Person>, Error> {
        let query = "SELECT p.id, c.owner, c.name AS collection, p.name, p.created_at, \
             (SELECT COUNT(*) FROM photos WHERE person = p.id) AS photos \
             FROM people p JOIN collections c ON c.id = p.collection \
             WHERE c.owner = $1 AND ($2 = '' OR c.name = $2) AND p.id > $3 ORDER BY p.id LIMIT $4";
        let rows = sqlx::query(query)
            .bind(owner)
            .bind(collection.unwrap_or(""))
            .bind(after.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(person).collect()
    }

    /// The person of a user with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for people of other users.
    pub async fn person_of(&self, owner: &str, id: PersonId) -> Result<Person, Error> {
        let query = "SELECT p.id, c.owner, c.name AS collection, p.name, p.created_at, \
             (SELECT COUNT(*) FROM photos WHERE person = p.id) AS photos \
             FROM people p JOIN collections c ON c.id = p.collection WHERE c.owner = $1 AND p.id = $2";
        let row = sqlx::query(query).bind(owner).bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        let missing = || Error::NotFound { kind: "person", name: id.to_string() };
        person(&row.ok_or_else(missing)?)
    }

    /// The person with this id or name, whose ever collection it is.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Ambiguous`] for a name that several collections have.
    pub async fn person(&self, name: &str) -> Result<Person, Error> {
        let mut found = self.people(None, None).await?;
        let id: Option<PersonId> = name.parse().ok();
        found.retain(|p| id.map_or(p.name == name, |id| p.id == id));
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Error::NotFound { kind: "person", name: name.to_owned() }),
            _ => {
                let found = found.iter().map(|p| p.id).collect();
                Err(Error::Ambiguous { name: name.to_owned(), found })
            }
        }
    }

    /// What somebody is to be recognised by, so that they are shown. Only while they agree to that.
    ///
    /// # Errors
    /// [`Error::NoConsent`] when they do not, [`Error::Sealed`] when something was changed.
    pub async fn to_keep(
        &self,
        person: &Person,
        scope: Scope,
        now: Timestamp,
    ) -> Result<Vec<Template>, Error> {
        let standing = self.standing(person.id, scope, now).await?;
        if !standing.is_given() {
            return Err(Error::NoConsent { name: person.name.clone(), standing });
        }
        let query = "SELECT p.id AS person, p.name, p.sealed_key, f.id AS photo, f.sealed_template \
             FROM photos f JOIN people p ON p.id = f.person WHERE p.id = $1 ORDER BY f.id";
        let rows = sqlx::query(query).bind(person.id.to_string()).fetch_all(&self.pool).await?;
        let faces: Vec<Face> = rows.iter().map(|row| self.face(row)).collect::<Result<_, _>>()?;
        Ok(faces.into_iter().map(|face| face.template).collect())
    }

    /// The templates of everybody in a collection, to say whether a new one is of somebody who is there
    /// already. Nobody is to be shown by these.
    ///
    /// # Errors
    /// [`Error::Sealed`] when something was changed.
    pub async fn enrolled(&self, owner: &str, collection: &str) -> Result<Vec<Face>, Error> {
        let query = "SELECT p.id AS person, p.name, p.sealed_key, f.id AS photo, f.sealed_template \
             FROM photos f JOIN people p ON p.id = f.person JOIN collections c ON c.id = p.collection \
             WHERE c.owner = $1 AND c.name = $2 ORDER BY f.id";
        let rows = sqlx::query(query).bind(owner).bind(collection).fetch_all(&self.pool).await?;
        rows.iter().map(|row| self.face(row)).collect()
    }

    /// Names of a user's collections after `after`, by name, and how many people are in each.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collections(
        &self,
        owner: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, i64)>, Error> {
        let query = "SELECT c.name, (SELECT COUNT(*) FROM people WHERE collection = c.id) AS people \
             FROM collections c WHERE c.owner = $1 AND c.name > $2 ORDER BY c.name LIMIT $3";
        let rows = sqlx::query(query).bind(owner).bind(after).bind(i64::from(limit));
        let rows = rows.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Photos of the people in a user's collection after id `after`: whose each is, and since when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn faces(
        &self,
        owner: &str,
        collection: &str,
        after: Option<PhotoId>,
        limit: u32,
    ) -> Result<Vec<(PhotoId, PersonId, String, Timestamp)>, Error> {
        let query = "SELECT f.id, p.id AS person, p.name, f.created_at FROM photos f \
             JOIN people p ON p.id = f.person JOIN collections c ON c.id = p.collection \
             WHERE c.owner = $1 AND c.name = $2 AND f.id > $3 ORDER BY f.id LIMIT $4";
        let rows = sqlx::query(query)
            .bind(owner)
            .bind(collection)
            .bind(after.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let face = |row| {
            let at = time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?;
            Ok((id(row, "id")?, id(row, "person")?, row.try_get("name")?, at))
        };
        rows.iter().map(face).collect()
    }

    /// Adds photos of somebody who is enrolled.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] for what is empty, too large, or too many.
    pub async fn add_photos(
        &self,
        person: PersonId,
        photos: &[NewPhoto],
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        check_photos(photos)?;
        let mut tx = self.begin().await?;
        let row =
            sqlx::query("SELECT sealed_key FROM people WHERE id = $1").bind(person.to_string());
        let row = row.fetch_optional(&mut *tx).await?;
        let missing = || Error::NotFound { kind: "person", name: person.to_string() };
        let sealed: Vec<u8> = row.ok_or_else(missing)?.try_get(0)?;
        let key = self.wrap.open_key(&key_context(person), &sealed)?;
        let detail = format!("{} more photos", photos.len());
        append(self, &mut tx, actor, Action::Enrol, &person.to_string(), &detail, now).await?;
        for photo in photos {
            add_photo(&mut tx, person, &key, photo, now.as_millisecond()).await?;
        }
        let count = sqlx::query("SELECT COUNT(*) FROM photos WHERE person = $1");
        let count: i64 = count.bind(person.to_string()).fetch_one(&mut *tx).await?.try_get(0)?;
        if count > MAX_PHOTOS as i64 {
            return Err(TOO_MANY);
        }
        Ok(tx.commit().await?)
    }

    /// Destroys a person: their key, photos, templates and consents. What shows them is public no longer. The log
    /// keeps their id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_person(
        &self,
        person: PersonId,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let delete = sqlx::query("DELETE FROM people WHERE id = $1").bind(person.to_string());
        if delete.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(Error::NotFound { kind: "person", name: person.to_string() });
        }
        append(self, &mut tx, actor, Action::Delete, &person.to_string(), "", now).await?;
        self.unpublish_person(&mut tx, person, "person_removed", now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.forget().await
    }

    fn face(&self, row: &AnyRow) -> Result<Face, Error> {
        let (person, photo): (PersonId, PhotoId) = (id(row, "person")?, id(row, "photo")?);
        let key: Vec<u8> = row.try_get("sealed_key")?;
        let key = self.wrap.open_key(&key_context(person), &key)?;
        let sealed: Vec<u8> = row.try_get("sealed_template")?;
        let template = Template::of_bytes(&key.open(&template_context(photo), &sealed)?)?;
        Ok(Face { person, name: row.try_get("name")?, template })
    }
}

fn check(new: &NewPerson) -> Result<(), Error> {
    check_text("the name of the user", &new.owner)?;
    check_text("the name of the collection", &new.collection)?;
    check_text("the name", &new.name)?;
    check_photos(&new.photos)
}

const TOO_MANY: Error =
    Error::Invalid { what: "the number of photos", why: "is not between 1 and 64" };

fn check_photos(photos: &[NewPhoto]) -> Result<(), Error> {
    let invalid = |what, why| Err(Error::Invalid { what, why });
    if photos.is_empty() || photos.len() > MAX_PHOTOS {
        return Err(TOO_MANY);
    }
    for photo in photos {
        if photo.picture.len() > MAX_PICTURE {
            return invalid("a photo", "is larger than 32 MiB");
        }
        let values = photo.template.values();
        if values.is_empty() || values.len() > MAX_TEMPLATE || !values.iter().all(|v| v.is_finite())
        {
            return invalid("a template", "is not one");
        }
    }
    Ok(())
}

async fn collection(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
    name: &str,
    millis: i64,
) -> Result<CollectionId, Error> {
    let insert = "INSERT INTO collections (id, owner, name, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (owner, name) DO NOTHING";
    let new = CollectionId::new(millis).to_string();
    sqlx::query(insert).bind(new).bind(owner).bind(name).bind(millis).execute(&mut **tx).await?;
    let row = sqlx::query("SELECT id FROM collections WHERE owner = $1 AND name = $2");
    id(&row.bind(owner).bind(name).fetch_one(&mut **tx).await?, "id")
}

async fn add_photo(
    tx: &mut Transaction<'static, Any>,
    person: PersonId,
    key: &SecretKey,
    new: &NewPhoto,
    millis: i64,
) -> Result<(), Error> {
    let photo = PhotoId::new(millis);
    let insert = "INSERT INTO photos (id, person, sealed_picture, sealed_template, created_at) \
         VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(insert)
        .bind(photo.to_string())
        .bind(person.to_string())
        .bind(key.seal(&format!("picture {photo}"), &new.picture)?)
        .bind(key.seal(&template_context(photo), &new.template.to_bytes())?)
        .bind(millis)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn key_context(person: PersonId) -> String {
    format!("key of {person}")
}

fn template_context(photo: PhotoId) -> String {
    format!("template of {photo}")
}

fn person(row: &AnyRow) -> Result<Person, Error> {
    Ok(Person {
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        collection: row.try_get("collection")?,
        name: row.try_get("name")?,
        photos: row.try_get("photos")?,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
    })
}
